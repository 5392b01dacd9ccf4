//! Times each layer with every kernel that supports the layer, and compares the selected kernel with the fastest.

use sconce::Result;
use sconce::candle::Device;
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::Epilogue;
use sconce::kernels::testing::cuda::conv_forward::{conv2d_with_variant, variants_for};

use crate::arguments::{Arguments, FORMATS};
use crate::clock::milliseconds;
use crate::table::layers;

/// The selection counts as correct if the time of the selected kernel is at most this multiple of the fastest time.
const MARGIN: f64 = 1.1;

/// Prints a line for each layer, batch size, format and variant, which is a kernel with its settings. The line ends
/// with the median time in milliseconds, the estimated cycles on which the selection is based, and the name of the
/// variant. The selected variant is printed first. Then prints how often the selection is correct.
pub fn print(arguments: &Arguments, device: &Device) -> Result<()> {
    let (mut correct, mut total) = (0, 0);
    for (layer, batch) in layers(arguments.short) {
        for format in FORMATS.into_iter().filter(|format| arguments.includes(batch, format.name)) {
            format.apply();
            let [input, weight, bias] = layer.operands(batch, format, device)?;
            let geometry = layer.geometry();
            let epilogue =
                Epilogue { shift: Some(bias), activation: Activation::Relu, ..Epilogue::default() };
            let mut times = Vec::new();
            for (variant, cycles) in variants_for(&input, &weight, &geometry)? {
                let call = || Ok(conv2d_with_variant(variant, &input, &weight, &geometry, &epilogue)?);
                let time = milliseconds(device, arguments.budget, &call)?;
                println!(
                    "{:<12}{batch:>6}{:>6}{time:>10.4}{cycles:>12.0}  {}",
                    layer.name,
                    format.name,
                    variant.name()
                );
                times.push(time);
            }
            let best = times.iter().copied().fold(f64::INFINITY, f64::min);
            total += 1;
            correct += usize::from(times.first().is_some_and(|chosen| *chosen <= MARGIN * best));
        }
    }
    println!(
        "the selected kernel (the first one printed for a layer, batch size and format) is at most a tenth slower than \
         the fastest in {correct} of {total} cases"
    );
    Ok(())
}
