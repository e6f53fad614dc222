//! Tar without I/O, its EROFS index, confined unpacking, compression by content.
