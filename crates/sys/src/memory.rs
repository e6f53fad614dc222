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

/// How far below the caller's frame a burst of work is taken to have reached, in bytes.
const STACK_REACH: usize = 128 * 1024;

/// Room for the frames of the call itself and for what a function without calls keeps below its frame, in bytes.
const STACK_KEPT: usize = 1024;

/// How far below the top of the first thread's stack a frame is taken to be on it, in bytes.
const STACK_SIZE: usize = 64 * 1024 * 1024;

/// Gives back the pages of the stack that deeper calls have touched and left; the next deep call finds zeros there. One system call.
/// For the first thread only: the kernel keeps at least 128 MiB below the top of its stack free of other mappings
/// (`mmap_base`, arch/x86/mm/mmap.c), which no other thread's stack has. Elsewhere nothing happens.
// Inlined, its frame would be its caller's, and what it takes for free could hold the caller's variables.
#[inline(never)]
pub fn release_stack() {
    let here = 0_u8;
    let frame = std::hint::black_box(std::ptr::from_ref(&here)).addr();
    // SAFETY: these take numbers and answer numbers; the kernel has put the random bytes at the top of the first thread's stack.
    let (top, page) = unsafe { (libc::getauxval(libc::AT_RANDOM), libc::sysconf(libc::_SC_PAGESIZE)) };
    let (Ok(top), Ok(page)) = (usize::try_from(top), usize::try_from(page)) else { return };
    if !(top.saturating_sub(STACK_SIZE)..top).contains(&frame) {
        return;
    }
    let end = (frame - STACK_KEPT) & !(page - 1);
    let start = end - STACK_REACH;
    // SAFETY: below the frame of the function that runs on a stack nothing is alive. Where the stack has not grown so far nothing is
    // mapped, and that part is passed over (ENOMEM, madvise(2)).
    unsafe { libc::madvise(std::ptr::without_provenance_mut(start), STACK_REACH, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_not_the_first_keeps_its_stack() {
        // Tests run in threads of their own, whose stacks have neighbours.
        let values: Vec<u8> = (0..=255).collect();
        let kept = [7_u8; 4096];
        release_stack();
        assert_eq!(values.len(), 256);
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
