"""Taking the log elsewhere: as events in open formats, or as the spans that it tells."""
