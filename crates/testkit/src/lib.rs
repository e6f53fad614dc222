//! What the end-to-end tests share: images, a fresh Onggi of their own, and a check that nothing is left behind.
