"""Words of headings that lead away from a page's content: "Related articles", "Mehr zum Thema", "相关阅读"."""

from __future__ import annotations

import re

_PAGES = (
    r"(?:articles?|stor(?:ies|y)|posts?|contents?|links?|topics?|news|coverage|pages|videos?|items|products|entries|"
    r"headlines)"
)
_LATIN_PHRASES = (
    # English
    rf"(?:related|similar|recent|latest|popular|featured|more|trending|recommended|top)(?: \w+)? {_PAGES}\b.*",
    r"related|recommended(?: for you| reading)?|trending(?: now)?|popular(?: now)?|more from .*",
    r"most (?:popular|read|viewed|shared|commented|recent)\b.*|editor'?s'? (?:picks?|choice)",
    r"(?:you|readers) (?:may|might|could|will|also)\b.{0,30}\b(?:like|interested|enjoy|read|love)\b.*",
    r"(?:also|next) (?:read|on|from|in)\b.*|read (?:more|next|also|this next)(?::.*)?|what to read next",
    r"keep reading|up next|don'?t miss\b.*|explore (?:further|more)\b.*|around the web|from (?:the web|our partners)",
    r"sponsored\b.*|advertisement",
    r"(?:sign up|subscribe|register) (?:for|to|now|today)\b.*(?:newsletter|e-?mails?|updates|alerts)\b.*",
    r"(?:our |the |join our )?newsletters?\b.*|get (?:the|our) (?:latest|best|newsletter)\b.*",
    r"follow (?:us|me)\b.*",
    r"leave a (?:reply|comment)|comments?(?: \(\d+\))?|(?:no|\d+) (?:comments?|responses?|replies|thoughts)\b.*",
    r"(?:part of )?complete coverage(?: on)?\b.*|in case you missed it",
    r"about the authors?|filed under\b.*|tagged(?: with)?\b.*|tags|categories|archives?",
    # German
    r"mehr zum thema\b.*|mehr (?:von|aus|zu|über) .*|mehr themen|(?:sie|dich|euch|das) k(?:ö|oe)nnten?\b.*interess.*",
    r"(?:lesen sie|lies) auch\b.*|auch interessant\b.*|(?:zum )?weiterlesen|schon gelesen|zum thema",
    r"(?:ä|ae)hnliche (?:artikel|beitr\w+|themen|produkte)|(?:neueste|verwandte) \w+|meist ?gelesen\w*",
    r"weitere? \w*(?:artikel|beitr\w+|themen|meldungen|nachrichten|news|links?|informationen)\b.*",
    r"empfehlungen?(?: der| aus der)?(?: redaktion)?|(?:ü|ue)ber (?:den autor|die autor\w+)|schlagw(?:ö|oe)rter",
    r"(?:\d+ |(?:bisher )?keine )?kommentare?|(?:jetzt )?(?:newsletter )?abonnieren\b.*|zum newsletter\b.*",
    # French
    r"(?:à|a) voir aussi\b.*|dans la m(?:ê|e)me (?:rubrique|cat(?:é|e)gorie)|articles? r(?:é|e)cents?",
    r"(?:laisser un |ajouter un |\d+ )?commentaires?|(?:à|a) propos de l['’]auteure?",
    r"(?:à|a) lire aussi\b.*|lire (?:aussi|plus)\b.*|sur le m(?:ê|e)me sujet|vous aimerez aussi\b.*",
    r"articles? (?:li(?:é|e)s|similaires|associ(?:é|e)s|connexes)|(?:articles )?les plus lus|vos r(?:é|e)actions",
    # Spanish and Portuguese
    r"te puede interesar\b.*|(?:art(?:í|i)culos|noticias|not(?:í|i)cias|artigos) relacionad[oa]s",
    r"lo m(?:á|a)s (?:le(?:í|i)do|visto)|voc(?:ê|e) pode gostar\b.*|mais lidas|(?:veja|leia) (?:tamb(?:é|e)m|mais)\b.*",
    r"(?:entradas|contenidos?|temas|publicaciones|enlaces|posts?) relacionad[oa]s",
    r"(?:deja (?:un|tu) |deixe (?:um|seu) |\d+ )?coment(?:arios?|ários?|ar)|(?:sobre|acerca de) (?:el|la|o|a) autora?",
    r"etiquetas|categor(?:í|i)as|(?:m(?:á|a)s|otras|(?:ú|u)ltimas|mais|outras) not(?:i|í)cias\b.*",
    # Italian, Polish, Dutch
    r"leggi anche\b.*|potrebbe(?:ro)? interessarti\b.*|articoli correlati|lees ook\b.*|polecane",
    r"(?:lascia un |\d+ )?comment[oi]",
    r"(?:altri )?articoli (?:recenti|simili)|altri articoli\b.*",
    r"(?:\d+ )?reacties?|gerelateerde (?:artikelen|berichten|onderwerpen)",
    r"(?:laat|geef) een reactie\b.*|meer over .*|lees meer\b.*",
    r"komentarze(?: \(\d+\))?|(?:podobne|powi(?:ą|a)zane|najnowsze) (?:artyku(?:ł|l)y|wpisy|tematy|wiadomo(?:ś|s)ci)",
    r"(?:zobacz|czytaj) (?:te(?:ż|z)|tak(?:ż|z)e|r(?:ó|o)wnie(?:ż|z)|wi(?:ę|e)cej)\b.*",
    # Swedish, Danish, Norwegian, Finnish, Czech, Romanian, Turkish, Vietnamese, Indonesian
    r"l(?:ä|æ|e)s (?:också|også|mer|mere)\b.*|relatera(?:de|t) (?:artiklar|inl(?:ä|a)gg|(?:ä|a)mnen)",
    r"relaterte? (?:artikler|saker)|lue my(?:ö|o)s\b.*",
    r"(?:souvisej(?:í|i)c(?:í|i)|podobn(?:é|e)) (?:č|c)l(?:á|a)nky|mohlo by v(?:á|a)s zaj(?:í|i)mat\b.*",
    r"cite(?:ș|ş|s)te (?:și|şi|si)\b.*|baca juga\b.*|artikel terkait\b.*",
    r"(?:i|İ)lgili (?:haberler|yaz(?:ı|i)lar|konular)|xem thêm\b.*|(?:tin|bài viết) liên quan\b.*",
)
_OTHER_PHRASES = (
    # Russian, Ukrainian
    r"(?:читайте|смотрите) (?:также|ещ(?:ё|е)|по теме|на тему)\b.*|читати також\b.*|материалы по теме",
    r"(?:похожие|другие|последние|свежие|популярные|связанные|новые|рекомендуемые|самые читаемые|главные|ещ(?:ё|е)) "
    r"(?:статьи|новости|материалы|записи|публикации|посты|темы|комментарии|по теме)\b.*|(?:статьи|новости) по теме",
    r"рекомендуем(?: также| (?:по|про)читать| к прочтению| вам)?|вам может (?:понравиться|быть интересно)\b.*",
    r"(?:подписаться|подпишитесь)(?: на\b.*)?",
    r"(?:\d+ )?комментари(?:и|ев|я|й)(?: \(?\d+\)?)?|комментировать|(?:оставить|добавить) комментарий\b.*|об авторе",
    # Chinese, in both scripts
    r"(?:相关|相關)(?:阅读|閱讀|文章|推荐|推薦|新闻|新聞|链接|連結|报道|报导|報導|内容|內容|专题|專題|话题|話題|资讯|資訊).{0,4}",
    r"(?:推荐|推薦|热门|熱門|最新|精彩|热点|熱點|编辑|編輯|小编|随机|隨機|其他|其它|更多)"
    r"(?:阅读|閱讀|文章|推荐|推薦|新闻|新聞|内容|內容|资讯|資訊|话题|話題|标签|標籤|评论|評論|留言|博文|视频|影片|专题|專題)",
    r"(?:阅读|閱讀|点击|點擊|热门|熱門|热点|新闻|新聞|文章|人气|评论|本周|本月)排行榜?(?: (?:阅读|评论|点击)排行榜?)?",
    r"(?:猜你|你可能|您可能)(?:也|还|還)?(?:会|會)?(?:喜欢|喜歡|感兴趣|感興趣)(?:的.{0,6})?|大家(?:都|还)?在看",
    r"[为為][您你]推[荐薦]|(?:上|下)一[篇页頁](?:文章)?(?: ?[:：].{0,60})?|返回(?:顶部|首页|列表|目录|上一页)",
    r"微信扫一扫.{0,20}",
    r"扫(?:码|一扫).{0,6}(?:关注|下载|分享|阅读).{0,10}|关注我们|订阅(?:我们|本站|专栏)|打赏(?:作者)?|(?:友情|合作)链接",
    r"(?:发表|發表|我要|网友|網友|全部|用户|参与|写|暂无|查看|文章)?(?:评论|評論|留言|跟帖)(?:区|區|列表)?"
    r"(?: ?[（(]?\d+[）)]?条?)?",
    r"\d+ ?条评论.{0,20}|發表迴響|热门标签|(?:标签|標籤)[云雲]|分类专栏|关于作者|關於作者|作者简介",
    # Japanese
    r"関連(?:する)?(?:記事|リンク|キーワード|ニュース|情報|サイト|コンテンツ|タグ|投稿|ページ|商品|書籍|動画|特集).{0,4}",
    r"(?:最新|人気|新着|注目|話題|おすすめ|オススメ|お薦め|ピックアップ|ほか|他|最近)の?(?:記事|ニュース|投稿|エントリー?|ランキング|コメント)",
    r"(?:アクセス|人気|記事|週間|月間|日間|デイリー|総合|閲覧数?)ランキング.{0,8}|アクセストップ\d*|[あ合]わせて読みたい.*",
    r"(?:この|こちらの)記事も(?:読まれて|おすすめ|オススメ|どうぞ).*|こちらも(?:おすすめ|オススメ|読まれて|どうぞ).{0,12}",
    r"(?:編集部の?|あなたへの|本日の)?(?:おすすめ|オススメ)|コメント(?:一覧|欄)?(?: ?[（(]?\d+件?[）)]?)?",
    r"コメントを(?:書く|残す|投稿|見る)(?:する)?|トラックバック(?:一覧|URL)?|タグ(?:クラウド.{0,8}|一覧)|カテゴリー|(?:月別)?アーカイブ",
    r"(?:前|次)の(?:記事|ページ|投稿)(?:へ|を見る|[:：»].{0,60})?|(?:著者|執筆者|筆者|ライター)(?:について|プロフィール|紹介)",
    r"この記事を書いた人|(?:メール ?マガジン|メルマガ)(?:登録|購読|会員)?.{0,12}|広告|スポンサード?リンク",
    # Korean
    r"(?:관련|추천|인기|최신|최근|다른) ?(?:기사|뉴스|글|게시물|링크|포스트|콘텐츠|댓글)",
    r"(?:가장 )?많이 ?본 ?(?:뉴스|기사|글)",
    r"댓글(?: ?쓰기| ?남기기| ?\(?\d+\)?)?|(?:이전|다음) ?글(?: ?[:：>].{0,60})?|구독하기",
)
# To one's friends: the buttons beside it go, not what a block begins with them.
_SHARING_PHRASES = (
    r"share|share (?:this|on|via|it)\b.*|teilen|deel (?:dit|deze)\b.*|udost(?:ę|e)pnij|공유하기",
    r"partager(?: (?:cet(?:te)?|sur|par|via|l['’]article)\b.{0,20})?",
    r"compart(?:ir|e|ilhe|ilhar)(?: (?:en|por|est[aeo]|no|na|com)\b.{0,30})?",
    r"condividi(?: (?:su|via|l['’]articolo|questo)\b.{0,30})?",
    r"поделиться(?: (?:с|в|ссылкой|статьей|новостью|записью)\b.{0,30})?",
    r"(?:分享|转发)(?:到|至|给|本文|按钮)?(?:微信|微博|朋友圈|QQ空间|QQ好友|[:： /])*",
    r"(?:(?:この(?:記事|ニュース|ページ)|投稿)を|SNSで)?シェア(?:する|しよう)?|この(?:記事|ニュース|ページ)を共有(?:する)?",
)
# Of the page itself; goes alone, too.
_PAGE_PHRASES = (
    r"(?:was|is) this (?:page|article|tutorial|topic|answer|section|post|guide|information) (?:helpful|useful)\b.*",
    r"(?:edit|improve) this (?:page|doc|article)\b.{0,40}|(?:view|show|expand)(?: page)? source(?: code)?",
    r"(?:edit|view)(?: this page)? (?:on|in) (?:github|gitlab|bitbucket)|last modified .{0,40}\b(?:19|20)\d\d\b.*",
)
_LATIN, _OTHER, _ALONE = (
    re.compile(rf"\W*(?:{'|'.join(phrases)})\W*", re.IGNORECASE)
    for phrases in (
        _LATIN_PHRASES + _SHARING_PHRASES + _PAGE_PHRASES,
        _OTHER_PHRASES + _SHARING_PHRASES,
        _SHARING_PHRASES + _PAGE_PHRASES,
    )
)
# Cyrillic, kana, Chinese characters, Hangul.
_OTHER_SCRIPT = re.compile(r"[\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")
# Also the names of functions, options and chapters.
_WORD = re.compile(
    r"\W*(?:comments?|share|related|trending|popular|tags|categories|archives?|kommentare?|teilen|commentaires?|partager|"
    r"comentarios?|comentários?|compartir|categor[ií]as|etiquetas|comment[oi]|condividi|komentarze|reacties?)\W*",
    re.IGNORECASE,
)
_MIN_CHARACTERS = 4
_MIN_CHARACTERS_OF_OTHER_SCRIPTS = 2
MAX_CHARACTERS = 80


def leads_away(text: str) -> bool:
    """Whether a line of this text, its spaces single, is such a heading."""
    if len(text) > MAX_CHARACTERS:
        return False
    if _OTHER_SCRIPT.search(text):
        return len(text) >= _MIN_CHARACTERS_OF_OTHER_SCRIPTS and _OTHER.fullmatch(text) is not None
    return len(text) >= _MIN_CHARACTERS and _LATIN.fullmatch(text) is not None


def is_a_word(text: str) -> bool:
    """Whether it may as well be the name of a function, an option or a chapter."""
    return _WORD.fullmatch(text) is not None or _OTHER_SCRIPT.search(text) is not None


def goes_alone(text: str) -> bool:
    """Of a heading that leads away: whether it stands beside buttons, at any place of a page."""
    return _ALONE.fullmatch(text) is not None
