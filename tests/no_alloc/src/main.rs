//! Links a node into a program that has neither an allocator nor the standard library, as firmware
//! does, and then runs it, unlike firmware. `check.sh` beside it inspects the program.
#![no_std]
#![no_main]

use core::arch::asm;
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::panic::PanicInfo;

use dht_proto::{Config, Event, Instant, MAX_DATAGRAM, Node};

/// The memory of a client, in `.bss`.
#[cfg(not(feature = "everything"))]
type Memory = dht_proto::Fixed;

/// The memory of a node with slots of every kind.
#[cfg(feature = "everything")]
type Memory = dht_proto::fixed!({
    let items = dht_proto::items::ItemLimits::NONE.stored(2).chunks(16).own(1).own_chunks(8);
    let limits = dht_proto::Limits::CLIENT.nodes_v6(64).swarms(4).peers_v4(8).peers_v6(8).items(items);
    limits.sources(4).samples(4).scrapes(1).samplings(1).replies(1)
});

static mut MEMORY: Memory = Memory::new();

/// Runs the loop of a node on a silent network. Returns 0 if the node queried its bootstrap host
/// and reported that it received no answer.
fn run() -> u8 {
    // SAFETY: this is called once, and no other code takes this address.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    let config = Config::DEFAULT.ipv6(false).read_only(true);
    let mut node = Node::with_storage(config, memory, [7; 32], Instant::ZERO);
    let host = SocketAddr::from(([67, 215, 246, 10], 6881));
    let (mut now, mut buf, mut sent) = (Instant::ZERO, [0; MAX_DATAGRAM], 0);
    if node.ping(now, host).is_err() {
        return 1;
    }
    loop {
        node.handle_timeout(now);
        while let Some(transmit) = node.poll_transmit(now, &mut buf) {
            if !buf[..transmit.size].starts_with(b"d1:ad2:id20:") {
                return 2;
            }
            sent += 1;
        }
        while let Some(event) = node.poll_event() {
            if matches!(event, Event::QueryDone { result: Err(_), .. }) {
                return if sent == 1 { 0 } else { 3 };
            }
        }
        match node.poll_timeout() {
            Some(due) => now = due,
            None => return 4,
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    exit(run())
}

/// The entry point: aligns the stack as the ABI requires.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!("and rsp, -16", "call {start}", "ud2", start = sym start)
}

fn exit(code: u8) -> ! {
    // SAFETY: exit_group does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") u64::from(code), options(noreturn)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// The precompiled `core` refers to it, though nothing unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The functions that the compiler expects of every target, including the runtime of a chip.
mod memory {
    use super::MaybeUninit;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            core::arch::asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _)
        };
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        if to.addr().wrapping_sub(from.addr()) >= len {
            // SAFETY: the caller's; copying forwards never reads what it has written.
            return unsafe { memcpy(to, from, len) };
        }
        for at in (0..len).rev() {
            // SAFETY: the caller's.
            unsafe {
                to.add(at)
                    .cast::<MaybeUninit<u8>>()
                    .write_volatile(from.add(at).cast::<MaybeUninit<u8>>().read())
            };
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            core::arch::asm!("rep stosb", inout("rdi") to => _, inout("rcx") len => _, in("al") byte as u8)
        };
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        for at in 0..len {
            // SAFETY: the caller's.
            let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
            if a != b {
                return i32::from(a) - i32::from(b);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        // SAFETY: the caller's.
        unsafe { memcmp(a, b, len) }
    }
}
