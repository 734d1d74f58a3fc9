"""The composition root: the only room that knows the others, and introduces them.

``house`` is an open vault with its desk and keys, ``run`` is ``tocsin up``, ``scan`` needs no
vault, ``access`` is what the commands ask for, over the socket of ``local`` or directly.
"""
