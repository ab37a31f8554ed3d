from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data.dedup.urls import canonical_url

PIECES = st.sampled_from(
    [
        *("http://", "https://", "www.", "m.", "a", "b.org", "/", "//", "..", ".", ":80", ":", "@", "[", "]", "é", " "),
        *("index.html", ".amp", ".html", ";jsessionid=1", "(S(", "cdn.ampproject.org/c/s/", "google.com/amp/"),
        *("?", "&", "=", "#", "!", "+", "%", "%20", "%2e", "%41", "%zz", "utm_x", "m=1", "amp=1"),
    ]
)


@settings(max_examples=500)
@given(rest=st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=40))
def test_a_canonical_address_is_its_own_canonical_form(rest):
    canonical = canonical_url("http://" + rest)
    assert canonical_url("http://" + canonical) == canonical
    assert canonical.isascii()


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        # the same address by definition (RFC 3986, IDNA)
        ("HTTP://User:Pass@Example.ORG/A", "example.org/A"),
        ("http://example.org:80/a", "example.org/a"),
        ("https://example.org:443/a", "example.org/a"),
        ("http://example.org:8080/", "example.org:8080"),
        ("http://example.org./a", "example.org/a"),
        ("http://bücher.example/Straße", "xn--bcher-kva.example/Stra%C3%9Fe"),
        ("http://BÜCHER.example/Stra%c3%9fe", "xn--bcher-kva.example/Stra%C3%9Fe"),
        ("http://a.org/%7euser/%61%2Fb", "a.org/~user/a%2Fb"),
        ("http://a.org/100%/x y", "a.org/100%25/x%20y"),
        ("http://a.org/a/./b/../c", "a.org/a/c"),
        ("http://a.org/../../x", "a.org/x"),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]/x"),
        (" http://a.org/x\n", "a.org/x"),
        # the same page on nearly every server
        ("https://www.a.org/x/", "a.org/x"),
        ("http://a.org//x//y", "a.org/x/y"),
        ("http://a.org/x/index.html", "a.org/x"),
        ("http://a.org/Default.aspx", "a.org"),
        ("http://a.org/index.php?id=3", "a.org?id=3"),
        ("http://a.org/x?b=2&a=1&b=1", "a.org/x?a=1&b=2&b=1"),
        ("http://a.org/x?a&b=%20c", "a.org/x?a=&b=+c"),
        ("http://a.org/x?", "a.org/x"),
        # where a reader came from, and sessions
        ("http://a.org/x?utm_source=s&UTM_Medium=m&gclid=1&fbclid=2&id=7", "a.org/x?id=7"),
        ("http://a.org/x;jsessionid=0A1B?PHPSESSID=9&q=1", "a.org/x?q=1"),
        ("http://a.org/t?sid=0123456789abcdef0123456789abcdef&t=5", "a.org/t?t=5"),
        ("http://a.org/t?sid=12&t=5", "a.org/t?sid=12&t=5"),
        ("http://a.org/(S(abcdefghijklmnopqrstuvwx))/p.aspx", "a.org/p.aspx"),
        # other furniture
        ("https://en.m.wikipedia.org/wiki/X", "en.wikipedia.org/wiki/X"),
        ("https://amp.a.org/x", "a.org/x"),
        ("https://a.org/x.amp.html", "a.org/x.html"),
        ("https://a.org/x?amp=1&print=yes&view=print", "a.org/x"),
        ("https://www-a-org.cdn.ampproject.org/c/s/www.a.org/x?id=1", "a.org/x?id=1"),
        ("https://www.google.com/amp/s/m.a.org/x", "a.org/x"),
        ("http://blog.a.org/x.html?m=1", "blog.a.org/x.html"),
        ("http://a.org/x?m=1&y=2020", "a.org/x?m=1&y=2020"),
        # fragments
        ("http://a.org/x#part", "a.org/x"),
        ("http://a.org/x#:~:text=words", "a.org/x"),
        ("http://a.org/#!/page/2", "a.org#!/page/2"),
        ("http://a.org/#/page/2", "a.org#/page/2"),
        # pages of their own
        ("http://m.co/x", "m.co/x"),
        ("http://docs.a.org/functions/print", "docs.a.org/functions/print"),
        ("http://shop.a.org/guitar/amp", "shop.a.org/guitar/amp"),
        # no address of a page
        ("", ""),
        ("not an address", ""),
        ("file:///x/y", ""),
        ("mailto:a@b.org", ""),
        ("http://", ""),
        ("http://[broken", ""),
        ("http://a b.org/", ""),
    ],
)
def test_addresses_of_one_page_are_spelled_one_way(url, canonical):
    assert canonical_url(url) == canonical
