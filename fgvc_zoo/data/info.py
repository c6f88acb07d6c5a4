"""What is known of a published data set beside its files."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataInfo:
    """Facts of a data set, for people, model cards and result files.

    Attributes:
        title: Its name for people.
        home: Its page.
        folder: What its folder must look like, one line a file or folder.
        classes: Number of classes; 0 if they differ.
        images: Official number of images of each split; empty if they differ.
        boxes: Whether it has a box of the object in each image.
        licence: What its authors allow; '' if its files and its page state nothing that was found.
        citation: Authors, title, venue and year.
        note: What else to know to get it, in a few words; '' for nothing.
        kind: What its classes are, in the plural, such as 'bird species'; '' for any.
    """

    title: str
    home: str
    folder: str
    classes: int = 0
    images: dict[str, int] = field(default_factory=dict)
    boxes: bool = False
    licence: str = ''
    citation: str = ''
    note: str = ''
    kind: str = ''

    def reference(self, images: int) -> dict[str, object]:
        """What a result file says of the data; nothing if it is no published data set.

        Args:
            images: Number of images measured.
        """
        if not self.citation:
            return {}
        return dict(dataset=dict(title=self.title, home=self.home, licence=self.licence, citation=self.citation, images=images))
