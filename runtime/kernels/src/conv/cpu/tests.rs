//! Tests that every thread of a large machine has work in the layers of well-known networks.

use crate::conv::ConvGeometry;
use crate::parallel::counts;

use super::*;

/// Batch, input channels, size, output channels, kernel, stride, padding, dilation, groups.
const LAYERS: [[usize; 9]; 22] = [
    [1, 1, 28, 20, 5, 1, 0, 1, 1],
    [1, 20, 24, 20, 5, 1, 0, 1, 1],
    [64, 1, 28, 20, 5, 1, 0, 1, 1],
    [64, 20, 24, 20, 5, 1, 0, 1, 1],
    [1, 3, 224, 64, 3, 1, 1, 1, 1],
    [1, 64, 224, 64, 3, 1, 1, 1, 1],
    [1, 128, 112, 128, 3, 1, 1, 1, 1],
    [1, 256, 56, 256, 3, 1, 1, 1, 1],
    [1, 512, 28, 512, 3, 1, 1, 1, 1],
    [1, 512, 14, 512, 3, 1, 1, 1, 1],
    [1, 3, 224, 64, 7, 2, 3, 1, 1],
    [1, 64, 56, 64, 3, 1, 1, 1, 1],
    [1, 64, 56, 256, 1, 1, 0, 1, 1],
    [1, 128, 28, 128, 3, 1, 1, 1, 1],
    [1, 128, 56, 128, 3, 2, 1, 1, 1],
    [1, 256, 14, 256, 3, 1, 1, 1, 1],
    [1, 1024, 14, 256, 1, 1, 0, 1, 1],
    [1, 512, 7, 512, 3, 1, 1, 1, 1],
    [1, 32, 112, 32, 3, 1, 1, 1, 32],
    [1, 128, 56, 128, 3, 2, 1, 1, 128],
    [1, 512, 14, 512, 3, 1, 1, 1, 512],
    [1, 128, 56, 128, 3, 1, 2, 2, 1],
];

fn problem(layer: [usize; 9], layout: Layout) -> Result<ConvProblem> {
    let [batch, inputs, size, outputs, kernel, stride, padding, dilation, groups] = layer;
    let geometry =
        ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], dilation: [dilation; 2], groups };
    Ok(ConvProblem {
        shape: ConvShape::new(
            &[batch, inputs, size, size],
            &[outputs, inputs / groups, kernel, kernel],
            &geometry,
        )?,
        format: ElementFormat::F32,
        input: layout,
        output: layout,
        weight_cached: true,
        isa: crate::simd::isa(),
        microarchitecture: microarchitecture(),
    })
}

/// Returns the number of tasks of each step of a convolution with a cached weight.
fn tasks(problem: &ConvProblem) -> Result<Vec<usize>> {
    let (shape, lanes) = (&problem.shape, problem.isa.lanes());
    let dims = [shape.batch, shape.in_channels, shape.input[0], shape.input[1]];
    let input = vec![1.; problem.input.elements(dims, lanes)];
    let weight = Tensor::ones(&shape.weight_dims(), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let mut output = vec![0.; problem.output.elements(shape.output_dims(), lanes)];
    let cache = PackedCache::default();
    let packing = Some(Packing::new(&cache, weight.id()));
    let call = Call { activation: Activation::Relu, packing, ..Call::new(&input[..], &values[..]) };
    let target = OutputPtr::F32(output.as_mut_ptr());
    assert!(convolve(problem, &call, target)?);
    Ok(counts::during(|| assert!(matches!(convolve(problem, &call, target), Ok(true)))))
}

#[test]
fn every_thread_has_work() -> Result<()> {
    let mut idle = vec![];
    for threads in [8, 16, 64] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(candle_core::Error::wrap)?;
        for (layer, layout) in
            LAYERS.iter().flat_map(|layer| [Layout::Nchw, Layout::Nchwc].map(|l| (layer, l)))
        {
            let problem = problem(*layer, layout)?;
            let tasks = pool.install(|| tasks(&problem))?;
            assert!(!tasks.is_empty(), "{layer:?} {layout:?}");
            if tasks.iter().any(|count| *count < threads) {
                idle.push(format!(
                    "{layer:?} {layout:?}: {:?}, {tasks:?} tasks for {threads} threads",
                    problem.select()
                ));
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
    Ok(())
}
