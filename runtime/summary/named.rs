//! The sizes of a network's signals with names.

use crate::module::{Forward, Mode};
use crate::registry::Network;
use crate::scope::{Call, SignalType, record_calls};
use crate::signal::IntoTensors;
use crate::symbolic::{Plan, SymbolicSize};
use crate::{Error, Result};

use super::{SummaryInput, enter_root};

/// The sizes of the input and of the output of a call.
pub(super) type CallSizes = [Option<Vec<SymbolicSize>>; 2];

/// Returns the names of the sizes of an input.
pub(crate) fn plan(input: &impl SummaryInput) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut added = Ok(());
    input.for_each_signal(&mut |signal| {
        if let (Ok(()), Some(shape)) = (&added, signal.named_shape()) {
            added = plan.add(shape);
        }
    });
    added.map(|()| plan)
}

/// Runs a network in evaluation mode and returns the sizes of each signal of the output.
pub(crate) fn output_sizes<I, M>(network: &M, input: I) -> Result<Vec<Vec<SymbolicSize>>>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors>,
{
    let plan = plan(&input)?;
    let (calls, outputs): (Vec<_>, Vec<_>) = run(network, &input, &plan)?.into_iter().unzip();
    // The error for a size that has no name names the first layer with such a size.
    call_sizes(network, &plan, &calls)?;
    let count = outputs[0].len();
    if outputs.iter().any(|output| output.len() != count) {
        return Err(differs());
    }
    let of_output =
        |i: usize| plan.fit_sizes(&outputs.iter().map(|output| &output[i][..]).collect::<Vec<_>>());
    (0..count).map(of_output).collect()
}

/// Returns the sizes of all calls of layers, in the order in which the calls begin.
pub(super) fn sizes_of_calls<I, M>(network: &M, input: &I, plan: &Plan) -> Result<Vec<CallSizes>>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors>,
{
    let (calls, _): (Vec<_>, Vec<_>) = run(network, input, plan)?.into_iter().unzip();
    call_sizes(network, plan, &calls)
}

type Shapes = Vec<Vec<usize>>;

/// Returns the calls and the shapes of the outputs of all runs.
fn run<I, M>(network: &M, input: &I, plan: &Plan) -> Result<Vec<(Vec<Call>, Shapes)>>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors>,
{
    let _scope = enter_root(network);
    plan.run(|| {
        let (outputs, calls) = record_calls(|| {
            let output = network.call(input.clone(), Mode::Eval);
            let mut shapes = Vec::new();
            output.for_each_signal(&mut |signal| shapes.extend(signal.dims().map(<[usize]>::to_vec)));
            output.check().map(|()| shapes)
        });
        Ok((calls, outputs?))
    })
}

/// Combines the calls of all runs.
fn call_sizes<M: Network>(network: &M, plan: &Plan, runs: &[Vec<Call>]) -> Result<Vec<CallSizes>> {
    let paths = |run: &[Call]| run.iter().map(|call| call.path.clone()).collect::<Vec<_>>();
    if runs.iter().any(|run| paths(run) != paths(&runs[0])) {
        return Err(differs());
    }
    let sizes = |signals: Vec<Option<&SignalType>>| -> Result<Option<Vec<SymbolicSize>>> {
        let present: Vec<&[usize]> = signals.iter().flatten().map(|signal| &signal.dims[..]).collect();
        match present.len() {
            0 => Ok(None),
            count if count == signals.len() => plan.fit_sizes(&present).map(Some),
            _ => Err(differs()),
        }
    };
    // A layer begins before the layers that it calls, so the last call with an error is the innermost.
    let mut innermost = None;
    let all = (0..runs[0].len()).map(|i| {
        let calls: Vec<&Call> = runs.iter().map(|run| &run[i]).collect();
        let input = sizes(calls.iter().map(|call| call.input.as_ref()).collect());
        let output = sizes(calls.iter().map(|call| call.output.as_ref()).collect());
        let found = input.and_then(|input| Ok([input, output?]));
        found.map_err(|error| error.at(path(network, &calls[0].path)))
    });
    let mut found = Vec::new();
    for sizes in all {
        match (sizes, &innermost) {
            (Ok(sizes), _) => found.push(sizes),
            (Err(error), None) => innermost = Some(error),
            (Err(error), Some(outer)) if error.path().starts_with(outer.path()) => innermost = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    innermost.map_or(Ok(found), Err)
}

fn path<M: Network>(network: &M, names: &[String]) -> String {
    std::iter::once(network.kind().into_owned()).chain(names.iter().cloned()).collect::<Vec<_>>().join(".")
}

fn differs() -> Error {
    Error::msg(
        "expected the same calls of layers for all values of the named sizes, found calls that depend on a size. Pass \
         `Signal::meta` with a number in place of such a name",
    )
}
