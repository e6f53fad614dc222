//! Control groups: v2 first, v1 beside it in one place.
