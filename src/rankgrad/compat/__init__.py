"""Other projects' own names and signatures over this library's operations.

One module for each project: change one import, keep the numbers.
"""
