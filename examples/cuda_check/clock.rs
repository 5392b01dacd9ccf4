//! Times calls with CUDA events, and measures the peak throughput of the device.

use std::time::{Duration, Instant};

use sconce::Result;
use sconce::candle::backend::BackendDevice;
use sconce::candle::cuda::cudarc::driver::{DriverError, sys::CUevent_flags};
use sconce::candle::cuda::set_gemm_reduced_precision_f32;
use sconce::candle::{DType, Device, Error, Tensor};

use crate::arguments::{FORMATS, Format};

/// The maximum number of calls between two events. Several short calls are timed together, so that the overhead of the
/// events is small compared with the measured time.
const MAX_CALLS: usize = 10;
/// The target time between two events, in milliseconds.
const TARGET_MS: f64 = 2.;

/// Converts an error of the CUDA driver to an error of candle.
fn wrap(error: DriverError) -> Error {
    Error::Cuda(Box::new(error))
}

/// Returns the GPU's name, compute capability and memory.
pub fn describe(device: &Device) -> Result<String> {
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability().map_err(wrap)?;
    let (name, memory) = (context.name().map_err(wrap)?, context.total_mem().map_err(wrap)?);
    Ok(format!("{name}, compute capability {major}.{minor}, {} MiB", memory >> 20))
}

/// Returns the median time of a call on the device, in milliseconds.
pub fn milliseconds(device: &Device, budget: Duration, call: &dyn Fn() -> Result<Tensor>) -> Result<f64> {
    let device = device.as_cuda_device()?;
    let stream = device.cuda_stream();
    let event = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(wrap);
    let mean_of = |calls: usize| -> Result<f64> {
        let start = event()?;
        for _ in 0..calls {
            call()?;
        }
        let end = event()?;
        end.synchronize().map_err(wrap)?;
        Ok(f64::from(start.elapsed_ms(&end).map_err(wrap)?) / calls as f64)
    };
    // The first call loads the kernels.
    call()?;
    device.synchronize()?;
    let calls = (TARGET_MS / mean_of(1)?).clamp(1., MAX_CALLS as f64) as usize;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || (begin.elapsed() < budget && times.len() < 100) {
        times.push(mean_of(calls)?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

impl Format {
    /// Sets whether sconce and candle multiply f32 as TF32, as this format requires.
    pub fn apply(self) {
        sconce::set_tf32(self.tf32);
        set_gemm_reduced_precision_f32(self.tf32);
    }
}

/// The measured peak rates of the device. The lower bound for the time of a layer is computed from these rates.
pub struct Peaks {
    /// Floating-point operations per millisecond of a large matrix product in cuBLAS, by format.
    pub flops: [f64; 4],
    /// Bytes read and written per millisecond by a copy of 256 MiB.
    pub bytes: f64,
}

impl Peaks {
    pub fn measure(device: &Device, budget: Duration) -> Result<Self> {
        const SIZE: usize = 8192;
        let mut flops = [0.; 4];
        for (peak, format) in flops.iter_mut().zip(FORMATS) {
            format.apply();
            let matrix = Tensor::randn(0f32, 1., (SIZE, SIZE), device)?.to_dtype(format.dtype)?;
            let time = milliseconds(device, budget, &|| Ok(matrix.matmul(&matrix)?))?;
            *peak = 2. * (SIZE as f64).powi(3) / time;
        }
        const BYTES: usize = 256 << 20;
        let bytes = Tensor::zeros(BYTES / 4, DType::F32, device)?;
        let time = milliseconds(device, budget, &|| Ok(bytes.copy()?))?;
        Ok(Self { flops, bytes: 2. * BYTES as f64 / time })
    }
}
