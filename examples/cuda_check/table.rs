//! Times a table of layers. Compares the times with the total time of candle's `conv2d`, `broadcast_add` and `relu`,
//! and with a lower bound that is computed from the device's peak rates.

use std::fmt::Write as _;
use std::time::Duration;

use sconce::candle::{Device, Tensor};
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, conv2d};
use sconce::{Error, Result};

use crate::arguments::{Arguments, BATCHES, FORMATS, Format};
use crate::clock::{Peaks, milliseconds};

/// The name of each layer, and its input channels, height, width, output channels, kernel, stride, padding, dilation
/// and groups. The layers are from the network of `examples/first_network.rs` (`intro`), VGG-16 (`vgg`), ResNet-50
/// (`rn`) and MobileNet (`mb`); `dil2` is a dilated layer.
const LAYERS: [(&str, [usize; 9]); 20] = [
    ("intro_1", [1, 28, 28, 20, 5, 1, 0, 1, 1]),
    ("intro_2", [20, 24, 24, 20, 5, 1, 0, 1, 1]),
    ("vgg_1_1", [3, 224, 224, 64, 3, 1, 1, 1, 1]),
    ("vgg_1_2", [64, 224, 224, 64, 3, 1, 1, 1, 1]),
    ("vgg_2_2", [128, 112, 112, 128, 3, 1, 1, 1, 1]),
    ("vgg_3_3", [256, 56, 56, 256, 3, 1, 1, 1, 1]),
    ("vgg_4_3", [512, 28, 28, 512, 3, 1, 1, 1, 1]),
    ("vgg_5_3", [512, 14, 14, 512, 3, 1, 1, 1, 1]),
    ("rn_stem", [3, 224, 224, 64, 7, 2, 3, 1, 1]),
    ("rn_2_3x3", [64, 56, 56, 64, 3, 1, 1, 1, 1]),
    ("rn_2_1x1", [64, 56, 56, 256, 1, 1, 0, 1, 1]),
    ("rn_3_3x3", [128, 28, 28, 128, 3, 1, 1, 1, 1]),
    ("rn_3_s2", [128, 56, 56, 128, 3, 2, 1, 1, 1]),
    ("rn_4_3x3", [256, 14, 14, 256, 3, 1, 1, 1, 1]),
    ("rn_4_1x1", [1024, 14, 14, 256, 1, 1, 0, 1, 1]),
    ("rn_5_3x3", [512, 7, 7, 512, 3, 1, 1, 1, 1]),
    ("mb_dw_112", [32, 112, 112, 32, 3, 1, 1, 1, 32]),
    ("mb_dw_56_s2", [128, 56, 56, 128, 3, 2, 1, 1, 128]),
    ("mb_dw_14", [512, 14, 14, 512, 3, 1, 1, 1, 512]),
    ("dil2", [128, 56, 56, 128, 3, 1, 2, 2, 1]),
];

/// Returns all layers at all batch sizes, or a few of them if `short` is set.
pub fn layers(short: bool) -> impl Iterator<Item = (Layer, usize)> {
    let (layers, batches) = if short { (2, 1) } else { (LAYERS.len(), BATCHES.len()) };
    LAYERS[..layers].iter().flat_map(move |l| BATCHES[..batches].iter().map(|b| (Layer::new(*l), *b)))
}

pub struct Layer {
    pub name: &'static str,
    channels: [usize; 2],
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

/// The times of one layer in milliseconds.
struct Row {
    ours: f64,
    /// `None` if candle fails, for example because memory runs out.
    candle: Option<f64>,
    /// The lower bound, computed from the peak rates.
    bound: f64,
}

pub fn print(arguments: &Arguments, device: &Device) -> Result<()> {
    let budget = arguments.budget;
    let peaks = Peaks::measure(device, budget)?;
    for (format, peak) in FORMATS.iter().zip(peaks.flops) {
        println!("peak of {}: {:.1} TFLOP/s (cuBLAS, 8192³)", format.name, peak * 1e-9);
    }
    println!("copy bandwidth: {:.0} GB/s\n", peaks.bytes * 1e-6);
    let with = if cfg!(feature = "cudnn") { "candle with cuDNN" } else { "candle without cuDNN" };
    println!("milliseconds of conv + bias + ReLU, ours and {with}");
    // `ratio` is our time divided by candle's. `of bound` is the bound as a percentage of our time.
    println!(
        "{:<12}{:>6}{:>6}{:>12}{:>12}{:>8}{:>12}{:>10}",
        "layer", "batch", "", "ours", "candle", "ratio", "bound", "of bound"
    );
    let mut csv = String::from("name,batch,format,ours_ms,candle_ms,bound_ms\n");
    let mut rows = Vec::new();
    for (layer, batch) in layers(arguments.short) {
        for (i, format) in FORMATS.into_iter().enumerate() {
            if !arguments.includes(batch, format.name) {
                continue;
            }
            format.apply();
            let row = layer.times(batch, format, (peaks.flops[i], peaks.bytes), budget, device)?;
            row.print(layer.name, batch, format);
            let candle = row.candle.map_or_else(String::new, |time| time.to_string());
            let Row { ours, bound, .. } = row;
            // Writing to a string never fails.
            let _ = writeln!(csv, "{},{batch},{},{ours},{candle},{bound}", layer.name, format.name);
            rows.push((layer.channels, batch, format, row));
        }
    }
    summarize(&rows);
    if let Some(path) = &arguments.csv {
        std::fs::write(path, csv).map_err(|error| Error::msg(format!("{path}: {error}")))?;
    }
    Ok(())
}

/// Prints the geometric mean of the ratios of our times to candle's. Then counts the rows with at least 128 channels,
/// batch size 32 and bf16, and prints for how many of them the lower bound is at least 70 % of our time.
fn summarize(rows: &[([usize; 2], usize, Format, Row)]) {
    let ratios: Vec<f64> =
        rows.iter().filter_map(|(.., row)| row.candle.map(|candle| row.ours / candle)).collect();
    let ahead = ratios.iter().filter(|ratio| **ratio < 1.).count();
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    println!("\nahead of candle on {ahead} of {} rows, geometric mean of the ratios {mean:.3}", ratios.len());
    let wide = rows.iter().filter(|([in_channels, out_channels], batch, format, _)| {
        in_channels.min(out_channels) >= &128 && *batch == 32 && format.name == "bf16"
    });
    let shares: Vec<f64> = wide.map(|(.., row)| row.bound / row.ours).collect();
    let close_to_bound = shares.iter().filter(|share| **share >= 0.7).count();
    println!(
        "lower bound at least 70 % of our time: {close_to_bound} of {} rows (at least 128 channels, batch 32, bf16)",
        shares.len()
    );
}

impl Row {
    fn print(&self, name: &str, batch: usize, format: Format) {
        let (candle, ratio) = match self.candle {
            Some(candle) => (format!("{candle:.4}"), format!("{:.2}", self.ours / candle)),
            None => ("-".into(), "-".into()),
        };
        println!(
            "{name:<12}{batch:>6}{:>6}{:>12.4}{candle:>12}{ratio:>8}{:>12.4}{:>9.0}%",
            format.name,
            self.ours,
            self.bound,
            100. * self.bound / self.ours
        );
    }
}

impl Layer {
    fn new((name, numbers): (&'static str, [usize; 9])) -> Self {
        let [in_channels, height, width, out_channels, kernel, stride, padding, dilation, groups] = numbers;
        let (channels, size) = ([in_channels, out_channels], [height, width]);
        Self { name, channels, size, kernel, stride, padding, dilation, groups }
    }

    /// Returns input, weight and bias.
    pub fn operands(&self, batch: usize, format: Format, device: &Device) -> Result<[Tensor; 3]> {
        let ([in_channels, out_channels], [height, width]) = (self.channels, self.size);
        let random = |shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::randn(0f32, 0.1, shape, device)?.to_dtype(format.dtype)?)
        };
        let input = random(&[batch, in_channels, height, width])?;
        let weight = random(&[out_channels, in_channels / self.groups, self.kernel, self.kernel])?;
        Ok([input, weight, random(&[out_channels])?])
    }

    pub fn geometry(&self) -> ConvGeometry {
        ConvGeometry {
            stride: [self.stride; 2],
            padding: [[self.padding; 2]; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
        }
    }

    /// Times the layer. `flops` and `bytes` are peak rates per millisecond.
    fn times(
        &self,
        batch: usize,
        format: Format,
        (flops, bytes): (f64, f64),
        budget: Duration,
        device: &Device,
    ) -> Result<Row> {
        let [input, weight, bias] = self.operands(batch, format, device)?;
        let out_channels = self.channels[1];
        let (geometry, activation) = (self.geometry(), Activation::Relu);
        let epilogue = Epilogue { shift: Some(bias.clone()), activation, ..Epilogue::default() };
        let ours = || Ok(conv2d(&input, &weight, &geometry, &epilogue, None)?);
        let bias = bias.reshape((1, (), 1, 1))?;
        let candle = || -> Result<Tensor> {
            let sums = input.conv2d(&weight, self.padding, self.stride, self.dilation, self.groups)?;
            Ok(sums.broadcast_add(&bias)?.relu()?)
        };
        let elements = ours()?.elem_count();
        let work = 2. * (elements * weight.elem_count() / out_channels) as f64;
        let traffic = (input.elem_count() + weight.elem_count() + elements) * format.dtype.size_in_bytes();
        Ok(Row {
            ours: milliseconds(device, budget, &ours)?,
            // candle may run out of memory.
            candle: milliseconds(device, budget, &candle).ok(),
            bound: (work / flops).max(traffic as f64 / bytes),
        })
    }
}
