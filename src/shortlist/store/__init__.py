"""Where results of stages live: keys, atomic artifacts, file formats, records."""
