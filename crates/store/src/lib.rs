//! Blobs, layers, names and leases: one store for all that Onggi keeps of images.
