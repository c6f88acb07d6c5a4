"""The official layouts of published data sets, one class each.

They read the official index files themselves. torchvision's readers of some of them give the files' names only in private attributes, want
a folder of their own around the official one, and refuse the index files of a part of a data set.
"""
