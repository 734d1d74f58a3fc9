"""From events to the receiver, or to lines: queue, spool, threads."""
