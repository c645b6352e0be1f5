"""What ``sdakd init`` lets a user choose from. Imports nothing heavy."""

COMPACT = {'nano': (32, 8), 'small': (64, 8), 'medium': (64, 16)}  # features and convolutions of SRVGGNetCompact
STUDENTS = (*COMPACT, 'half')
PHOTOS = ('real', 'clean')
TEACHER = 'RealESRGAN_x4plus'
