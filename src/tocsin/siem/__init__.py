"""The composition root: the only room that knows the others, and introduces them.

``house`` is an open vault with its desk and keys, ``run`` is ``tocsin up``, ``scan`` needs no
vault, ``access`` is what the commands ask for, over the socket of ``local`` or directly; ``verbs``
answers them.  ``decisions`` are written down before they are done, ``notices`` are what tocsin has
to say of itself, and ``checks`` and ``doctor`` look before anything goes wrong.
"""
