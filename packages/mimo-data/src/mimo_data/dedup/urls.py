"""One spelling for all addresses of one page.

What RFC 3986 calls equivalent is merged because it is the same address by definition: case of scheme and host, default
ports, percent-encoding of letters that need none, dot segments; hosts are compared in their ASCII form (IDNA).

Merged because servers answer with the same page nearly always: http and https; `www.`; a trailing slash; index files;
repeated slashes; the order of parameters with different names; `?a` and `?a=`. Parameters that tell where a reader came
from, or which session it is, are no part of a page's name. Mobile, AMP and print variants are the same text in other
furniture: `m.`, `mobile.` and `amp.` below a site's name, `.amp.html`, AMP caches, `?amp=1`, `?print=1`, `?m=1`.
Fragments are places within a page and go, but for `#!` and `#/`, by which scripts name pages of their own.

Not merged: `…/amp` and `…/print`, which may be an amplifier and the documentation of `print`, while the text rules find
the copies among them anyway; addresses that differ in the case of their path, in any other parameter or its value, or
in their language; short links, redirects and `canonical` links, which only the page itself could tell. A host whose
name is `m` or `www` below a public suffix (`m.co.uk`) is taken for a variant of the suffix: there is no list of
suffixes here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# RFC 3986, appendix B, of the schemes that name pages.
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)
_IGNORED_SIGNS = re.compile(r"[\t\r\n]")
_HOST = re.compile(r"(?:[^@]*@)?(\[[0-9a-fA-F:.]+\]|[^:@\[\]]+)(?::(\d*))?")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_VARIANT_LABEL = re.compile(r"www\d?|m|mobile|amp")
_AMP_CACHE = re.compile(
    r"(?:[\w-]+\.cdn\.ampproject\.org/[vc]|(?:www\.)?google\.[a-z.]+/amp)/(?:s/)?([\w.-]+\.\w+)(/.*)?"
)

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-]+)+/?|/")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# What may not stand in an address as it is: not ASCII, controls, space, and signs that RFC 3986 has no place for.
_FORBIDDEN = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")

_SESSION_IN_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/;]*|/\(S\([0-9a-z]{24}\)\)", re.IGNORECASE)
_FURNITURE_IN_PATH = re.compile(
    r"(?<=\w)\.amp(?=\.html?$|$)|/(?:index|default)\.(?:html?|xhtml|shtml|php\d?|aspx?|jsp|cgi|cfm)$", re.IGNORECASE
)

_TRACKING = re.compile(
    r"utm_\w+|ga_\w+|_ga|_gl|gclid|gclsrc|dclid|gbraid|wbraid|gad_source|gad_campaignid"
    r"|fbclid|fb_action_\w+|fb_ref|fb_source|igshid|igsh|msclkid|yclid|ysclid|twclid|ttclid|li_fat_id|epik|srsltid"
    r"|mc_[ce]id|mkt_tok|_hsenc|_hsmi|__hs\w+|hsctatracking|vero_\w+|oly_\w+_id|s_kwcid|s_cid|ef_id|wickedid|rb_clickid"
    r"|pk_\w+|mtm_\w+|piwik_\w+|matomo_\w+|at_(?:campaign|medium|custom\d)|spm|scm|ref_src|ref_url|cmpid|ncid|trk|trkcampaign",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"(?:phpsessid|jsessionid|aspsessionid\w*|oscsid|zenid|cfid|cftoken|session_?id)=.*|(?:s|sid)=[0-9a-f]{32}",
    re.IGNORECASE,
)
_VARIANT_PARAMETER = re.compile(
    r"(?:amp|print|printable|printerfriendly|mobile)=(?:1|true|yes|on)?|(?:view|output|outputtype|format)=(?:amp|print)",
    re.IGNORECASE,
)


def canonical_url(url: str) -> str:
    """The address without its scheme, spelled one way; "" for what is no address of a page on the web."""
    parts = _PARTS.fullmatch(_IGNORED_SIGNS.sub("", url.strip()))
    if parts is None:
        return ""
    scheme, authority, path, query, fragment = parts.groups()
    host, path = _canonical_host(authority, scheme.lower()), _canonical_path(path)
    if not host:
        return ""
    cached = _AMP_CACHE.fullmatch(host + path)
    if cached:
        return canonical_url(f"https://{cached[1]}{cached[2] or ''}?{query or ''}#{fragment or ''}")
    address = host + path
    if query:
        address += _canonical_query(query)
    if fragment and fragment.startswith(("!", "/")):
        address += "#" + _normal_escapes(fragment)
    return address


def _canonical_host(authority: str, scheme: str) -> str:
    parts = _HOST.fullmatch(authority)
    if parts is None:
        return ""
    host, port = parts[1].lower(), parts[2]
    if "%" in host:
        host = unquote(host).lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            return ""
    host = host.rstrip(".")
    if not _NAME.fullmatch(host):
        return ""
    labels = host.split(".")
    kept = labels[-2:]
    if len(labels) > 2:
        kept = [label for label in labels[:-2] if not _VARIANT_LABEL.fullmatch(label)] + kept
    host = ".".join(kept)
    return f"{host}:{int(port)}" if port and port != _DEFAULT_PORTS[scheme] else host


def _canonical_path(path: str) -> str:
    """Without a slash at its end, so that the root is ""."""
    if _PLAIN_PATH.fullmatch(path):
        return path.rstrip("/")
    path = _normal_escapes(path)
    if ";" in path or "(" in path:
        path = _SESSION_IN_PATH.sub("", path)
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    path = "".join("/" + segment for segment in segments)
    while (shorter := _FURNITURE_IN_PATH.sub("", path)) != path:
        path = shorter
    return path


def _canonical_query(query: str) -> str:
    """With its question mark; "" if nothing is left."""
    found = []
    for parameter in query.split("&"):
        name, _, value = _normal_escapes(parameter).replace("%20", "+").partition("=")
        pair = f"{name}={value}"
        if name and not (_TRACKING.fullmatch(name) or _SESSION.fullmatch(pair) or _VARIANT_PARAMETER.fullmatch(pair)):
            found.append((name, pair))
    if [pair for _, pair in found] in (["m=0"], ["m=1"]):
        # A blog's mobile variant; beside other parameters it may be a month.
        return ""
    # Those of one name keep their order, which may mean something.
    found.sort(key=lambda item: item[0])
    return "?" + "&".join(pair for _, pair in found) if found else ""


def _normal_escapes(text: str) -> str:
    """Percent-encoding where RFC 3986 wants it and nowhere else, in upper case."""
    if "%" in text:
        text = _ESCAPE.sub(_normal_escape, text)
    return _FORBIDDEN.sub(_escaped, text)


def _normal_escape(match: re.Match[str]) -> str:
    if match[1] is None:
        return "%25"
    sign = chr(int(match[1], 16))
    return sign if sign in _UNRESERVED else "%" + match[1].upper()


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
