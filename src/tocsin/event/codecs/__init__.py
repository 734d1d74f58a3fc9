"""One event as one line of JSON, XML or key=value, and back, exactly.

Each codec is a pair of functions.  Whatever stands in a value, the line is one line, holds no
control, bidi or invisible character, and decodes to one event with that very value.
"""

from tocsin.event.codecs.json import decode as decode_json
from tocsin.event.codecs.json import encode as encode_json
from tocsin.event.codecs.logfmt import decode as decode_logfmt
from tocsin.event.codecs.logfmt import encode as encode_logfmt
from tocsin.event.codecs.xml import decode as decode_xml
from tocsin.event.codecs.xml import encode as encode_xml

__all__ = [
    "decode_json",
    "decode_logfmt",
    "decode_xml",
    "encode_json",
    "encode_logfmt",
    "encode_xml",
]
