//! Containers, sandboxes and volumes as things with a life.
