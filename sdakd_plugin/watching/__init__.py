"""A run as a page: while it goes on, served by ``sdakd watch``; at its end, ``report.html``."""
