//! The device's memory: buffers between guard zones.

use std::ffi::{CString, c_char};
use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

/// The minimum size of a guard zone, in bytes. Guard zones lie before, between and after the buffers.
const GUARD: usize = 4096;
/// The value of every byte of the guard zones.
const GUARD_BYTE: u8 = 0xa5;
/// The value of every byte of a buffer before the first write: NaN in every floating-point type.
const POISON: u8 = 0xff;
/// The alignment of allocations on a device, in bytes.
const ALIGNMENT: usize = 256;

/// The name and the position of a buffer in the arena.
struct Buffer {
    name: CString,
    range: Range<usize>,
}

/// The memory of an emulated device.
pub struct Arena {
    memory: Vec<AlignedChunk>,
    buffers: Vec<Buffer>,
    /// The length of the arena in bytes.
    end: usize,
}

/// A part of the arena with the alignment of a device's allocations.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct AlignedChunk(#[allow(dead_code, reason = "read as bytes")] [u8; ALIGNMENT]);

/// Has the layout of `cuda_cpu::Region`.
#[repr(C)]
struct Region {
    name: *const c_char,
    begin: *mut u8,
    bytes: usize,
}

unsafe extern "C" {
    fn cuda_cpu_bind(arena: *mut u8, bytes: usize, regions: *const Region, count: usize);
    fn cuda_cpu_forbid(address: *const u8, bytes: usize, forbidden: i32);
}

impl Arena {
    /// Creates an arena with a buffer for each name and length in bytes. The buffers are filled with [`POISON`].
    pub fn new(names_and_lengths: impl IntoIterator<Item = (String, usize)>) -> Result<Self> {
        let (mut buffers, mut end) = (Vec::new(), GUARD);
        for (name, bytes) in names_and_lengths {
            let name = CString::new(name).map_err(candle_core::Error::wrap)?;
            buffers.push(Buffer { name, range: end..end + bytes });
            end = (end + bytes + GUARD).next_multiple_of(ALIGNMENT);
        }
        let memory = vec![AlignedChunk([GUARD_BYTE; ALIGNMENT]); end.div_ceil(ALIGNMENT)];
        let mut arena = Self { memory, buffers, end };
        for buffer in 0..arena.buffers.len() {
            arena.bytes_mut(buffer).fill(POISON);
        }
        Ok(arena)
    }

    pub fn pointer(&mut self, buffer: usize) -> *mut u8 {
        self.bytes_mut(buffer).as_mut_ptr()
    }

    pub fn bytes(&self, buffer: usize) -> &[u8] {
        &self.whole()[self.buffers[buffer].range.clone()]
    }

    pub fn bytes_mut(&mut self, buffer: usize) -> &mut [u8] {
        let range = self.buffers[buffer].range.clone();
        let start = self.memory.as_mut_ptr().cast();
        // SAFETY: `AlignedChunk` is a byte array without padding, and `memory` has at least `end` bytes.
        let whole: &mut [u8] = unsafe { std::slice::from_raw_parts_mut(start, self.end) };
        &mut whole[range]
    }

    fn whole(&self) -> &[u8] {
        // SAFETY: `AlignedChunk` is a byte array without padding, and `memory` has at least `end` bytes.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.end) }
    }

    /// Registers the buffers with the emulator of this thread.
    pub fn bind(&mut self) {
        let begin = self.memory.as_mut_ptr().cast::<u8>();
        let region = |buffer: &Buffer| Region {
            name: buffer.name.as_ptr(),
            begin: begin.wrapping_add(buffer.range.start),
            bytes: buffer.range.len(),
        };
        let regions: Vec<Region> = self.buffers.iter().map(region).collect();
        // SAFETY: the regions lie within the arena, and the emulator copies the list of regions. It uses their
        // pointers only during launches, which borrow the arena.
        unsafe { cuda_cpu_bind(begin, self.end, regions.as_ptr(), regions.len()) }
    }

    /// Makes AddressSanitizer, if enabled, report accesses to the guard zones during `launch`.
    pub fn guarded<T>(&mut self, launch: impl FnOnce() -> T) -> T {
        self.forbid(true);
        let result = launch();
        self.forbid(false);
        result
    }

    /// Makes AddressSanitizer, if enabled, forbid or allow accesses to the guard zones.
    fn forbid(&self, forbidden: bool) {
        for zone in self.guards() {
            // SAFETY: this only marks bytes of the arena, and nothing accesses them until they are unmarked.
            unsafe { cuda_cpu_forbid(self.whole()[zone.clone()].as_ptr(), zone.len(), forbidden.into()) }
        }
    }

    /// Returns the guard zones: one before the first buffer and one after each buffer.
    fn guards(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.buffers.iter().map(|buffer| buffer.range.end));
        let ends = self.buffers.iter().map(|buffer| buffer.range.start).chain([self.end]);
        starts.zip(ends).map(|(start, end)| start..end)
    }

    /// Fails if a guard zone was overwritten, and names the buffers next to it.
    pub fn check(&self) -> Result<()> {
        for (i, zone) in self.guards().enumerate() {
            if self.whole()[zone].iter().any(|byte| *byte != GUARD_BYTE) {
                bail!(
                    "out-of-bounds write between {:?} and {:?}",
                    self.name(i.wrapping_sub(1)),
                    self.name(i)
                );
            }
        }
        Ok(())
    }

    /// Returns the name of a buffer, for messages.
    fn name(&self, buffer: usize) -> String {
        self.buffers
            .get(buffer)
            .map_or("an end of the arena".into(), |buffer| buffer.name.to_string_lossy().into_owned())
    }
}

/// Returns the elements of a tensor in row-major order, as bytes.
pub fn tensor_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.to_device(&candle_core::Device::Cpu)?.flatten_all()?;
    macro_rules! bytes {
        ($($dtype:ident: $T:ty),*) => {
            match flat.dtype() {
                $(DType::$dtype => flat.to_vec1::<$T>()?.into_iter().flat_map(|x| x.to_ne_bytes()).collect(),)*
                dtype => bail!("expected a dtype that kernels support, found {dtype:?}"),
            }
        };
    }
    Ok(bytes!(U8: u8, U32: u32, I64: i64, F16: half::f16, BF16: half::bf16, F32: f32, F64: f64))
}
