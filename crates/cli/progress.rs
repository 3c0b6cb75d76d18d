//! How a run is getting on: bars on a terminal, a line every 10 s for a stream in a pipe, nothing else.
