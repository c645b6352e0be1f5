"""What is known of each family of networks, one file a family: how to recognise, slim, call, tap and export it.

``family.py`` says what a family may state, ``registry.py`` lists the families and finds that of a network or a state
dict, and ``calling.py`` calls any network.
"""
