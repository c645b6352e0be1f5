"""Writes an option file for a folder of photographs.

``survey`` looks at the photographs, ``choices`` decides, ``option_file`` puts the choices into words, ``measurement``
tries them on this machine, and ``migration`` translates option files of BasicSR and Real-ESRGAN.
"""
