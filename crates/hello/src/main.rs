//! The program inside Onggi's built-in image: says where it runs, and what to try next.
//!
//! It is freestanding (no std, no C library), so that an image of one file under 64 KiB is enough and nothing but the kernel
//! answers for what it prints. It reads only what any program in a container may read: its own /proc, its cgroup, the clock.

#![no_std]
#![no_main]

mod facts;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod machine;
mod system;
mod text;

use core::ffi::{CStr, c_char};

use facts::Facts;
use text::Text;

/// Called by `_start` with the stack as the kernel left it: argument count, arguments, null, environment, null.
///
/// # Safety
/// `stack` must be that pointer, unchanged.
#[unsafe(no_mangle)]
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // Before anything else: the figure is the time to this program's first instruction.
    let now = system::monotonic_nanoseconds();
    // SAFETY: the kernel puts argc at the stack pointer, then argc + 1 argument words, then the environment (System V ABI).
    let environment = unsafe { stack.add(*stack + 2) }.cast::<*const c_char>();
    // SAFETY: as above; the list ends with a null pointer and lives as long as the process.
    let started = unsafe { variable(environment, b"ONGGI_STARTED_NS=") };
    // SAFETY: as above.
    let sudo = unsafe { variable(environment, b"ONGGI_SUDO=") };
    let mut page = Text::new();
    Facts::gather(now, started, sudo.is_some()).write(&mut page);
    let written = system::write_all(system::STANDARD_OUTPUT, page.as_bytes());
    system::exit(i32::from(written.is_err()))
}

/// The value of the environment variable `name` (with its `=`).
///
/// # Safety
/// `list` must point to pointers to C strings, the last one null.
unsafe fn variable(mut list: *const *const c_char, name: &[u8]) -> Option<&'static [u8]> {
    loop {
        // SAFETY: not past the null that ends the list, by the loop's own return.
        let entry = unsafe { *list };
        if entry.is_null() {
            return None;
        }
        // SAFETY: the kernel ends each string with a zero byte.
        if let Some(value) = unsafe { CStr::from_ptr(entry) }.to_bytes().strip_prefix(name) {
            return Some(value);
        }
        // SAFETY: `entry` was not the last.
        list = unsafe { list.add(1) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    let _ = system::write_all(system::STANDARD_ERROR, b"hello: a bug in this program\n");
    system::exit(101)
}

/// Named by the precompiled core library for unwinding, which this program never does (panic=abort); without the name an
/// unoptimised build does not link.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
