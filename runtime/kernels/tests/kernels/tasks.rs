//! Tests that every thread of a large machine has work in the layers of well-known networks.

use candle_core::Result;
use sconce_kernels::ConvGeometry;
use sconce_kernels::internal::{ConvShape, Layout};
use sconce_kernels::testing::{ConvProblem, ElementFormat, Isa, Microarchitecture, available, task_counts};

/// `[batch, in_channels, size, out_channels, kernel, stride, padding, dilation, groups]` of each layer.
const LAYERS: [[usize; 9]; 25] = [
    [1, 1, 28, 20, 5, 1, 0, 1, 1],
    [1, 20, 24, 20, 5, 1, 0, 1, 1],
    [64, 1, 28, 20, 5, 1, 0, 1, 1],
    [64, 20, 24, 20, 5, 1, 0, 1, 1],
    [1, 3, 224, 64, 3, 1, 1, 1, 1],
    [1, 3, 224, 32, 3, 1, 1, 1, 1],
    [1, 16, 112, 32, 3, 1, 1, 1, 1],
    [1, 16, 112, 64, 3, 2, 1, 1, 1],
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

/// Returns the instruction sets of this machine. The portable one, which is six times as slow in this test, is included
/// only if there are no others.
fn isas() -> Vec<Isa> {
    let isas = available();
    let first = isas.len().min(2) - 1;
    isas[first..].to_vec()
}

/// Returns the problems of a layer, one for each instruction set and microarchitecture. If several microarchitectures
/// select the same algorithm, only the first is included, because the others have the same tasks.
fn problems(layer: [usize; 9], layout: Layout) -> Result<Vec<ConvProblem>> {
    let [batch, in_channels, size, out_channels, kernel, stride, padding, dilation, groups] = layer;
    let geometry =
        ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], dilation: [dilation; 2], groups };
    let shape = ConvShape::new(
        &[batch, in_channels, size, size],
        &[out_channels, in_channels / groups, kernel, kernel],
        &geometry,
    )?;
    let mut problems: Vec<ConvProblem> = vec![];
    for isa in isas() {
        for microarchitecture in Microarchitecture::ALL {
            let problem = ConvProblem {
                shape,
                format: ElementFormat::F32,
                input: layout,
                output: layout,
                weight_cached: true,
                isa,
                microarchitecture,
            };
            let key = |problem: &ConvProblem| (problem.isa, problem.select());
            if problems.iter().all(|other| key(other) != key(&problem)) {
                problems.push(problem);
            }
        }
    }
    Ok(problems)
}

/// Includes the algorithms that other microarchitectures select, so that the outcome of this test depends only on the
/// instruction sets of the machine.
#[test]
fn every_thread_has_work() -> Result<()> {
    let mut idle = vec![];
    for threads in [8, 16, 64] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(candle_core::Error::wrap)?;
        for (layer, layout) in
            LAYERS.iter().flat_map(|layer| [Layout::Nchw, Layout::Nchwc].map(|l| (layer, l)))
        {
            for problem in problems(*layer, layout)? {
                let tasks = pool.install(|| task_counts(&problem))?;
                assert!(!tasks.is_empty(), "{layer:?} {layout:?}");
                if tasks.iter().any(|count| *count < threads) {
                    idle.push(format!(
                        "{layer:?} {layout:?} {:?}: {:?}, {tasks:?} tasks for {threads} threads",
                        problem.isa,
                        problem.select()
                    ));
                }
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
    Ok(())
}
