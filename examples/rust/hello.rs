// SPDX-License-Identifier: MIT

//! examples/hello.c in Rust, its part of include/vfiodirty written by hand:  hello-rust GROUP DEVICE
//!
//! rustc -O -L native=BUILD -l vfiodirty -o hello-rust hello.rs
//!
//! With a test device (tests/kernel), e.g. vfdtest.0, it also has pages written, and looks whether they are what is reported.

#![allow(non_camel_case_types)]

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_uint, c_ulong, c_void};
use std::os::unix::io::AsRawFd;
use std::ptr::{null, null_mut};

#[repr(C)]
struct vfd_error {
    code: c_int,
    sys_errno: c_int,
    operation: *const c_char,
    first: u64,
    last: u64,
    message: [c_char; 384],
}

#[repr(C)]
struct vfd_region {
    struct_size: u32,
    flags: u32,
    address: u64,
    size: u64,
    memory: *mut c_void,
}

#[repr(C)]
struct vfd_mapping {
    struct_size: u32,
    flags: u32,
    iova: u64,
    size: u64,
    memory: *mut c_void,
    log_address: u64,
    granule: u64,
}

#[repr(C)]
struct vfd_container_options {
    struct_size: u32,
    flags: u32,
    log: *mut vfd_log,
    path: *const c_char,
    backend: u32,
    device_count: u32,
    devices: *const *const c_char,
}

#[repr(C)]
struct vfd_batch {
    id: u64,
    first: u64,
    last: u64,
    pages: u64,
    reported: u64,
    next: u64,
}

#[repr(C)]
struct vfd_run {
    address: u64,
    size: u64,
    memory: *mut c_void,
}

// What the header says; the tests ask a C compiler.
const _: () = {
    assert!(size_of::<vfd_error>() == 416);
    assert!(size_of::<vfd_region>() == 32);
    assert!(size_of::<vfd_mapping>() == 48);
    assert!(size_of::<vfd_container_options>() == 40);
    assert!(size_of::<vfd_batch>() == 48);
    assert!(size_of::<vfd_run>() == 24);
};

type vfd_log = c_void;
type vfd_consumer = c_void;
type vfd_container = c_void;
type vfd_group = c_void;
type vfd_device = c_void;

const VFD_MAP_READ: u32 = 1;
const VFD_MAP_WRITE: u32 = 2;
const VFD_COLLECT: c_uint = 1;
const EVERYTHING: u64 = u64::MAX;

extern "C" {
    fn vfd_log_create(options: *const c_void, log: *mut *mut vfd_log, err: *mut vfd_error) -> c_int;
    fn vfd_log_destroy(log: *mut *mut vfd_log, flags: c_uint, err: *mut vfd_error) -> c_int;
    fn vfd_log_consumer(log: *mut vfd_log) -> *mut vfd_consumer;
    fn vfd_region_add(log: *mut vfd_log, region: *const vfd_region, err: *mut vfd_error) -> c_int;
    fn vfd_container_open(options: *const vfd_container_options, container: *mut *mut vfd_container, err: *mut vfd_error) -> c_int;
    fn vfd_container_close(container: *mut *mut vfd_container, flags: c_uint, err: *mut vfd_error) -> c_int;
    fn vfd_group_attach(container: *mut vfd_container, number: c_int, group: *mut *mut vfd_group, err: *mut vfd_error) -> c_int;
    fn vfd_group_detach(group: *mut *mut vfd_group, flags: c_uint, err: *mut vfd_error) -> c_int;
    fn vfd_device_open(group: *mut vfd_group, name: *const c_char, device: *mut *mut vfd_device, err: *mut vfd_error) -> c_int;
    fn vfd_map(container: *mut vfd_container, mapping: *const vfd_mapping, err: *mut vfd_error) -> c_int;
    fn vfd_track_start(container: *mut vfd_container, options: *const c_void, plan: *mut c_void, err: *mut vfd_error) -> c_int;
    fn vfd_track_harvest(container: *mut vfd_container, flags: c_uint, result: *mut c_void, err: *mut vfd_error) -> c_int;
    fn vfd_mark_initial(consumer: *mut vfd_consumer, err: *mut vfd_error) -> c_int;
    fn vfd_take(consumer: *mut vfd_consumer, first: u64, last: u64, max: u64, batch: *mut vfd_batch, err: *mut vfd_error) -> c_int;
    fn vfd_batch_runs(consumer: *mut vfd_consumer, batch: *mut vfd_batch, runs: *mut vfd_run, max: usize, count: *mut usize, err: *mut vfd_error) -> c_int;
    fn vfd_commit(consumer: *mut vfd_consumer, batch: *const vfd_batch, first: u64, last: u64, err: *mut vfd_error) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// A call with room for what it has to say, and that as the error.
fn call(f: impl FnOnce(*mut vfd_error) -> c_int) -> Result<(), String> {
    let mut err: vfd_error = unsafe { std::mem::zeroed() };
    match f(&mut err) {
        0 => Ok(()),
        _ => Err(unsafe { format!("{}: {}", text(err.operation), text(err.message.as_ptr())) }),
    }
}

unsafe fn text(bytes: *const c_char) -> String {
    if bytes.is_null() { String::new() } else { CStr::from_ptr(bytes).to_string_lossy().into_owned() }
}

const PAGE: usize = 4096;
const SIZE: usize = 16 << 20;
const IOVA: u64 = 1 << 20;

#[repr(C, align(4096))]
struct Memory([u8; SIZE]);

fn memory() -> Box<Memory> {
    unsafe {
        let raw = std::alloc::alloc_zeroed(std::alloc::Layout::new::<Memory>());
        assert!(!raw.is_null());
        Box::from_raw(raw as *mut Memory)
    }
}

/// Send what is owed. Here: into an array. Returns how many pages.
fn send_owed(consumer: *mut vfd_consumer, copy: &mut Memory) -> Result<u64, String> {
    let mut batch = vfd_batch { id: 0, first: 0, last: 0, pages: 0, reported: 0, next: 0 };
    let mut run = vfd_run { address: 0, size: 0, memory: null_mut() };
    let mut count = 0;
    call(|err| unsafe { vfd_take(consumer, 0, EVERYTHING, EVERYTHING, &mut batch, err) })?;
    while batch.id != 0 {
        call(|err| unsafe { vfd_batch_runs(consumer, &mut batch, &mut run, 1, &mut count, err) })?;
        if count == 0 {
            call(|err| unsafe { vfd_commit(consumer, &batch, 0, EVERYTHING, err) })?;
            break;
        }
        let to = copy.0[run.address as usize..][..run.size as usize].as_mut_ptr();
        unsafe { std::ptr::copy_nonoverlapping(run.memory as *const u8, to, run.size as usize) };
    }
    println!("sent {} pages", batch.pages);
    Ok(batch.pages)
}

/// tests/kernel/vfdtest.h: VFDTEST_WRITE. Other devices do as they like.
fn have_written(device: &str, page: usize, pages: usize) -> Result<(), String> {
    let index: u32 = match device.strip_prefix("vfdtest.") {
        Some(number) => number.parse().map_err(|_| "which test device?".to_string())?,
        None => return Ok(()),
    };
    let range = [index as u64, IOVA + (page * PAGE) as u64, (pages * PAGE) as u64, 7];
    let file = std::fs::File::open("/dev/vfdtest").map_err(|e| e.to_string())?;
    match unsafe { ioctl(file.as_raw_fd(), 0x40207601, range.as_ptr()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

fn expect(what: &str, pages: u64, device: &str, wanted: u64) -> Result<(), String> {
    if device.starts_with("vfdtest.") && pages != wanted {
        return Err(format!("{}: {} pages, and the device wrote {}", what, pages, wanted));
    }
    Ok(())
}

fn hello(number: c_int, name: &str) -> Result<bool, String> {
    let (mut ram, mut copy) = (memory(), memory());
    let mut log: *mut vfd_log = null_mut();
    let mut container: *mut vfd_container = null_mut();
    let mut group: *mut vfd_group = null_mut();
    let mut device: *mut vfd_device = null_mut();
    let device_name = CString::new(name).map_err(|e| e.to_string())?;

    ram.0[SIZE - 1] = 1;
    let address = ram.0.as_mut_ptr() as *mut c_void; // from here on only through this: the device writes too
    call(|err| unsafe { vfd_log_create(null(), &mut log, err) })?;
    let region = vfd_region {
        struct_size: size_of::<vfd_region>() as u32, flags: 0, address: 0, size: SIZE as u64, memory: address,
    };
    call(|err| unsafe { vfd_region_add(log, &region, err) })?;
    let options = vfd_container_options {
        struct_size: size_of::<vfd_container_options>() as u32, flags: 0, log,
        path: null(), backend: 0, device_count: 0, devices: null(),
    };
    call(|err| unsafe { vfd_container_open(&options, &mut container, err) })?;
    call(|err| unsafe { vfd_group_attach(container, number, &mut group, err) })?;
    let map = vfd_mapping {
        struct_size: size_of::<vfd_mapping>() as u32, flags: VFD_MAP_READ | VFD_MAP_WRITE,
        iova: IOVA, size: SIZE as u64, memory: address, log_address: 0, granule: 0,
    };
    call(|err| unsafe { vfd_map(container, &map, err) })?;
    call(|err| unsafe { vfd_track_start(container, null(), null_mut(), err) })?;
    call(|err| unsafe { vfd_device_open(group, device_name.as_ptr(), &mut device, err) })?;
    let consumer = unsafe { vfd_log_consumer(log) };
    call(|err| unsafe { vfd_mark_initial(consumer, err) })?;
    send_owed(consumer, &mut copy)?; // everything, while the device may write
    have_written(name, 5, 3)?;
    call(|err| unsafe { vfd_track_harvest(container, 0, null_mut(), err) })?;
    expect("harvest", send_owed(consumer, &mut copy)?, name, 3)?; // what it wrote meanwhile; as often as you like
    have_written(name, 9, 2)?;
    call(|err| unsafe { vfd_group_detach(&mut group, VFD_COLLECT, err) })?;
    expect("detach", send_owed(consumer, &mut copy)?, name, 2)?; // and the rest: nothing was lost by closing the device
    call(|err| unsafe { vfd_container_close(&mut container, 0, err) })?;
    call(|err| unsafe { vfd_log_destroy(&mut log, 0, err) })?;
    Ok(ram.0[..] == copy.0[..])
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = match arguments.get(1).and_then(|word| word.parse().ok()) {
        Some(number) if arguments.len() == 3 => number,
        _ => {
            eprintln!("usage: hello-rust GROUP DEVICE, e.g. hello-rust 12 0000:3b:00.0 (vfd-info lists them)");
            std::process::exit(2);
        }
    };
    match hello(number, &arguments[2]) {
        Ok(true) => println!("the copy is identical"),
        Ok(false) => {
            println!("the copy differs");
            std::process::exit(1);
        }
        Err(error) => {
            eprintln!("hello-rust: {}", error);
            std::process::exit(1);
        }
    }
}
