"""The demo: real traffic, sold, charged and reckoned through the real till, with only the AI made up.

`script` says who asks for what and when, `replay` asks it of a running tokentill over HTTP, `reckoning`
adds everything up again by its own arithmetic, `screen` shows it, `show` is the evening from first to last.
"""
