//! What a small resident program says to its allocator, so that a burst of work leaves no pages behind.

/// Blocks of at least `bytes` get a mapping of their own and return to the kernel when they are freed (`M_MMAP_THRESHOLD`), and
/// the heap is cut back as soon as that many bytes are free at its end (`M_TRIM_THRESHOLD`). It also grows by no more than is asked
/// for (`M_TOP_PAD`): from the 128 KiB of room that it has otherwise, large blocks too are taken, and cleared by writing to them.
pub fn return_blocks_from(bytes: i32) {
    // SAFETY: these calls only set numbers in the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
    trim();
}

/// Gives every free page of the heap back to the kernel (`malloc_trim(3)`). Some microseconds.
pub fn trim() {
    // SAFETY: the allocator gives back only what nobody uses.
    unsafe { libc::malloc_trim(0) };
}
