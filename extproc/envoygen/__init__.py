"""Envoy's configuration, made from ours: settings in, plain dicts out.

`render.render` is the way in, `write.write` the only thing that touches the
disk, `binary` finds what the machine brings along (Envoy itself, trusted roots).
"""
