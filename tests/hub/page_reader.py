"""Reads HTML pages."""

import html.parser

_VOID = ('meta', 'img', 'br')


class Page(html.parser.HTMLParser):
    """The elements, texts and attributes of a page. Fails on elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.texts, self._all, self.images, self.attributes, self.tags, self._open = [], [], [], [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == 'img':
            self.images.append(dict(attrs))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self._all.append(data)
        if data.strip():
            self.texts.append(' '.join(data.split()))

    @property
    def text(self):
        return ' '.join(''.join(self._all).split())
