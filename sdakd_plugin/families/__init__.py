"""Knowledge about families of networks, one file per family.

``family.py`` declares what a family can define (how to recognise, slim, call, tap and export its networks),
``registry.py`` lists the families and finds the one of a network or a state dict, and ``calling.py`` calls any network.
"""
