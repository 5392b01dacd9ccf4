//! Operations on the named tensors of a network.

mod convert;
mod copy;
mod eval;
mod freeze;
mod list;
mod load;
mod metadata;
mod mode;
mod replace;

pub use eval::Eval;
pub(crate) use list::{TensorKind, join};
pub(crate) use load::Matching;
pub(crate) use mode::pin_where_possible;
pub(crate) use replace::{Replacements, for_each_mut};

use std::borrow::Borrow;
use std::collections::HashSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use crate::capture::Captured;
use crate::checkpoint::{self, Save, StateDict};
use crate::load::{Load, LoadReport, Selection};
use crate::module::{Forward, Mode, Module};
use crate::network_graph::Graph;
#[cfg(feature = "onnx")]
use crate::onnx::{self, OnnxOptions};
use crate::profile::Profile;
use crate::signal::{IntoTensors, Signal};
#[cfg(feature = "stablehlo")]
use crate::stablehlo::{self, StableHloOptions};
use crate::summary::{self, Summary, SummaryInput};
use crate::symbolic::SymbolicSize;
use crate::{Error, Result};

/// Methods on the tensors and child modules of a network. Every [`Module`] implements this trait.
///
/// Lists are in the order of the fields, with dotted paths like those in PyTorch's checkpoints. A tensor that
/// several fields share is listed once, under its first path.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let fc = Linear::config(3, 2).init(&Device::Cpu)?;
/// let shapes = fc.named_parameters().into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec()));
/// let expected = [("weight".to_string(), vec![2, 3]), ("bias".to_string(), vec![2])];
/// assert_eq!(shapes.collect::<Vec<_>>(), expected);
/// assert_eq!(fc.num_parameters(), 8);
/// # Ok(())
/// # }
/// ```
pub trait Network: Module {
    /// Returns every parameter with its path, including frozen parameters.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        list::first_paths(self, TensorKind::Parameter)
    }

    /// Returns every parameter, including frozen parameters.
    fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// Returns the parameters that are not frozen, with their paths, for an optimizer.
    fn trainable_parameters(&self) -> Vec<(String, Var)> {
        let trainable = self.named_parameters().into_iter().filter(|(_, tensor)| tensor.is_variable());
        trainable.filter_map(|(name, tensor)| Some((name, Var::from_tensor(&tensor).ok()?))).collect()
    }

    /// Returns the buffers with their paths: tensors that are saved and moved but never trained.
    fn buffers(&self) -> Vec<(String, Tensor)> {
        list::first_paths(self, TensorKind::Buffer)
    }

    /// Returns every module with its path. The first entry is the network itself, with an empty path.
    fn named_modules(&self) -> Vec<(String, &dyn Module)>
    where
        Self: Sized,
    {
        list::modules(self)
    }

    /// Returns the number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Tensor::elem_count).sum()
    }

    /// Returns the parameters and buffers by path. The tensors share the network's storage.
    fn state_dict(&self) -> StateDict {
        list::all_paths(self).into_iter().map(|entry| (entry.path, entry.tensor.detach())).collect()
    }

    /// Copies the tensors of `state` into this network. If a tensor does not fit, the network is left unchanged.
    ///
    /// `state` may hold a tied tensor under any of its paths. `num_batches_tracked` of a batch norm may be missing,
    /// as in checkpoints older than PyTorch 0.4.1. The prefix of a [wrapper](crate::Load#wrappers) is stripped.
    ///
    /// # Errors
    /// Fails if a tensor is missing, unexpected or mismatched, or if `state` has different values under two
    /// paths of a tied tensor.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let matching = Matching::new(self, &StateDict::default(), &Selection::all(state), false)?;
        matching.assign(self, &HashSet::new())
    }

    /// Copies the tensors of a checkpoint into this network with the options of [`Load`], and reports what was
    /// loaded.
    ///
    /// Accepts the same checkpoints as [`Config::load_with`](crate::Config::load_with). With [`Load::partial`],
    /// tensors that are missing from the checkpoint keep their values. With [`Load::dtype`], the network's float
    /// tensors are first converted to that type.
    ///
    /// # Errors
    /// Fails under the same conditions as [`load_state_dict`](Self::load_state_dict) and [`Load::read`]. With
    /// [`Load::partial`], missing, unexpected and mismatched tensors are not errors. After an error, the network is
    /// unchanged.
    fn load_with(&mut self, load: impl Borrow<Load>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        let load = load.borrow();
        let dtype = load.float_dtype()?;
        let selection = load.select(&Device::Cpu)?;
        let matching = Matching::new(self, &StateDict::default(), &selection, load.is_partial());
        let matching = matching.map_err(|error| error.in_layer(load.path().display()))?;
        if let Some(dtype) = dtype {
            self.to_dtype(dtype)?;
        }
        matching.assign(self, &HashSet::new())?;
        Ok(matching.report)
    }

    /// Writes every tensor to a file. The extension selects the format: `.safetensors`, `.npz`, or `.pt`, `.pth` or
    /// `.bin` for PyTorch. The file is written atomically: if the process crashes or the disk is full, the old file
    /// stays intact.
    ///
    /// # Errors
    /// Fails if the extension stands for no format, if the file cannot be written, or if the format does not support
    /// the dtype of a tensor.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.save_with(Save::new(path))
    }

    /// Writes every tensor to a file with the options of [`Save`].
    ///
    /// Adds the type of this network to the metadata of a safetensors file under the key `network`, and the version of
    /// sconce under the key `sconce_version`. [`checkpoint::metadata`] reads the metadata back.
    ///
    /// # Errors
    /// Fails under the same conditions as [`checkpoint::write()`], and if a metadata key is `network`, `sconce_version`
    /// or `format`.
    fn save_with(&self, save: impl Borrow<Save>) -> Result<()>
    where
        Self: Sized,
    {
        let save = save.borrow();
        let with_type = metadata::with_type(save, self.kind());
        let save = with_type.map_err(|error| Error::msg(format!("{}: {error}", save.path().display())))?;
        checkpoint::write(save, &self.state_dict())
    }

    /// Moves every tensor to `device`. Trainable parameters become new variables.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied to `device`. After an error, the network is unchanged.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        convert::convert(self, |tensor| tensor.to_device(device))
    }

    /// Converts every float tensor to `dtype`. Trainable parameters become new variables.
    ///
    /// # Errors
    /// Fails if a tensor cannot be converted to `dtype`. After an error, the network is unchanged.
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        convert::convert(self, |tensor| {
            if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) }
        })
    }

    /// Freezes the parameters whose path matches `pattern`, as in `freeze("backbone.**")`. Training does not change
    /// frozen parameters. In the pattern, `*` matches one segment of a path, and `**` any number of segments. If the
    /// pattern matches one path of a tied parameter, the parameter is frozen under all of its paths.
    ///
    /// Training still updates the running statistics of frozen batch norms.
    /// [`freeze_in_eval`](Self::freeze_in_eval) also freezes these statistics.
    ///
    /// # Errors
    /// Fails if the pattern matches no parameter.
    fn freeze(&mut self, pattern: &str) -> Result<()> {
        freeze::freeze(self, pattern)
    }

    /// Freezes the parameters whose path matches `pattern`, as [`freeze`](Self::freeze) does, and pins the matching
    /// layers to evaluation mode, as [`set_mode`](Self::set_mode) does. Training then changes neither their parameters
    /// nor their running statistics, and their dropout is inactive.
    ///
    /// A layer matches if its path or the path of one of its tensors matches. `unfreeze(pattern)` and `set_mode(None)`
    /// reverse the two effects.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// struct Model {
    ///     #[layer(3, 8, 3)]
    ///     conv: Conv2d,
    ///     #[layer(8)]
    ///     norm: BatchNorm,
    /// }
    /// # fn main() -> Result<()> {
    /// let mut model = Model::new(&Device::Cpu)?;
    /// model.freeze_in_eval("norm.**")?;
    /// let x = Tensor::ones((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
    /// model.forward_t(x, true)?; // a step of training
    /// let mean = &model.buffers()[0].1;
    /// assert_eq!(mean.to_vec1::<f32>()?, [0.; 8]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the pattern matches neither a parameter nor a layer whose forward pass depends on the mode, or if it
    /// matches a layer that cannot be pinned.
    fn freeze_in_eval(&mut self, pattern: &str) -> Result<()> {
        freeze::freeze_in_eval(self, pattern)
    }

    /// Pins this network to a mode, as in `net.backbone.set_mode(Mode::Eval)`: its layers then use this mode instead of
    /// the mode of each call. With `None`, they use the mode of each call again.
    ///
    /// This corresponds to PyTorch's `net.backbone.eval()`, except that training does not reset the mode. The mode
    /// affects batch and instance norms, dropouts, `StochasticDepth`, `MultiheadAttention` and the recurrent layers.
    /// Functions to which a forward closure passes `mode`, such as `dropout(x, 0.1, mode)`, still use the mode of the
    /// call. Copies of the network keep the mode. If several fields hold one layer in an `Arc`, each field has its own
    /// mode.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut dropout = Dropout::config(0.5);
    /// dropout.set_mode(Mode::Eval)?;
    /// let x = Tensor::ones(4, DType::F32, &Device::Cpu)?;
    /// let y = dropout.call(x.into(), Mode::Train).into_tensor()?;
    /// assert_eq!(y.to_vec1::<f32>()?, [1.; 4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if `mode` is not `None` and the network contains candle-nn's `Dropout` or `BatchNorm`, which cannot store
    /// a mode. The network is then unchanged.
    fn set_mode(&mut self, mode: impl Into<Option<Mode>>) -> Result<()> {
        mode::pin(self, mode.into(), |_| true).map(|_| ())
    }

    /// Unfreezes the parameters whose path matches `pattern`: they become new variables with copied values.
    ///
    /// # Errors
    /// Fails if the pattern matches no parameter.
    fn unfreeze(&mut self, pattern: &str) -> Result<()> {
        freeze::unfreeze(self, pattern)
    }

    /// Returns a copy that shares storage with this network and has no trainable parameters. The copy sees the
    /// changes that training makes to this network. Its forward pass records no graph for a backward pass.
    fn detached(&self) -> Self
    where
        Self: Sized,
    {
        copy::detached(self)
    }

    /// Returns a copy with separate storage, like PyTorch's `copy.deepcopy`. Training the copy does not change this
    /// network. Tied tensors of this network are tied in the copy, frozen parameters are frozen, and pinned layers are
    /// pinned. `clone` and [`Module::share`] return a copy that shares storage.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(2, 2).init(&Device::Cpu)?;
    /// let mut copy = linear.deep_clone()?;
    /// let zeros = copy.state_dict().into_iter().map(|(name, tensor)| Ok((name, tensor.zeros_like()?)));
    /// copy.load_state_dict(&zeros.collect::<Result<StateDict>>()?)?;
    /// assert_ne!(linear.weight().sqr()?.sum_all()?.to_scalar::<f32>()?, 0.);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    fn deep_clone(&self) -> Result<Self>
    where
        Self: Sized,
    {
        copy::deep_clone(self)
    }

    /// Returns a copy with separate storage and no trainable parameters. The weights of the copy are packed for the
    /// kernels once instead of on every call.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied.
    fn inference(&self) -> Result<Self>
    where
        Self: Sized,
    {
        copy::inference(self)
    }

    /// Returns a copy in evaluation mode that implements `candle_core::Module`, for example for candle's `Sequential`.
    /// The copy shares the tensors of this network.
    ///
    /// ```
    /// use sconce::nn;
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// struct Model {
    ///     #[layer(3, 2)]
    ///     fc: Linear,
    /// }
    /// # fn main() -> Result<()> {
    /// let model = Model::new(&Device::Cpu)?;
    /// let sequence = nn::seq().add(model.eval()).add(nn::Activation::Relu);
    /// let x = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
    /// let y = sconce::candle::Module::forward(&sequence, &x)?;
    /// assert_eq!(y.dims(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    fn eval(&self) -> Eval<Self>
    where
        Self: Sized,
    {
        Eval(self.share())
    }

    /// Runs the network in evaluation mode, and returns its layers with their shapes, parameters and multiply-adds, as
    /// the package torchinfo does.
    ///
    /// With an input without numbers, [`Signal::meta`], the run computes only shapes and allocates no activations. With
    /// a tensor as a signal, the network runs. The summary then also contains which layers ran in the launch of another
    /// layer, and is the same otherwise. Several inputs are passed as a tuple.
    ///
    /// The shapes of a summary of [`Signal::symbolic`] have names. Its numbers are those for the examples of the names.
    ///
    /// Multiply-adds are the products that are added up in convolutions, linear and bilinear maps, matrix products,
    /// attention and recurrent layers: `output elements · kernel elements · in_channels / groups` for a convolution.
    /// Other operations count as 0.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let net = vec![Conv2d::config(3, 8, 3).init(&Device::Cpu)?, Conv2d::config(8, 8, 3).init(&Device::Cpu)?];
    /// let summary = net.summary(Signal::meta((1, 3, 32, 32), DType::F32))?;
    /// let shapes: Vec<_> = summary.layers.iter().map(|layer| layer.output_shape.clone().unwrap()).collect();
    /// assert_eq!(shapes, [[1, 8, 28, 28], [1, 8, 30, 30], [1, 8, 28, 28]]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails, for example because the shape of the input does not fit.
    fn summary<I>(&self, input: I) -> Result<Summary>
    where
        I: SummaryInput + Clone,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        Summary::new(self, input)
    }

    /// Runs the network several times in evaluation mode, and returns the time of each launch: the path of its layer,
    /// the operations that ran in it, its multiply-adds and the bytes of its operands and results.
    ///
    /// The first two runs are discarded: they pack weights and allocate activations. The times are medians of nine more
    /// runs, without those whose launches differ from the launches of the last run. The input has the same forms as for
    /// [`summary`](Self::summary), with numbers. Only launches of the thread that calls `profile` are recorded. On a
    /// GPU, the network waits for each launch, so the times do not overlap.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let net = vec![Linear::config(8, 16).init(&Device::Cpu)?, Linear::config(16, 4).init(&Device::Cpu)?];
    /// let x = Tensor::ones((32, 8), DType::F32, &Device::Cpu)?;
    /// let profile = net.profile(Signal::from(x))?;
    /// let multiply_adds: Vec<_> = profile.launches.iter().map(|launch| launch.multiply_adds).collect();
    /// assert_eq!(multiply_adds, [32 * 8 * 16, 32 * 16 * 4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails, for example because the input has no numbers.
    fn profile<I>(&self, input: I) -> Result<Profile>
    where
        I: SummaryInput + Clone,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        Profile::new(self, input)
    }

    /// Runs the network in evaluation mode, and returns its operations as a graph: in which launch each operation ran,
    /// and why operations were not fused. The [`Graph`] prints the launches, and draws the network.
    ///
    /// The input has the same forms as for [`summary`](Self::summary), with numbers: which operations are fused depends
    /// on the shapes, on the numbers of the parameters, on whether they are packed and track gradients, on the number
    /// of threads, and on the kernels of the processor. The reasons are those with which the run itself decided. Only
    /// operations of the thread that calls `graph` are recorded.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// #[module(forward = |x| relu(norm(conv(&x)) + x))]
    /// struct Block {
    ///     #[layer(8, 8, 3, padding = 1, bias = false)]
    ///     conv: Conv2d,
    ///     #[layer(8)]
    ///     norm: BatchNorm2d,
    /// }
    /// # fn main() -> Result<()> {
    /// let block = Block::new(&Device::Cpu)?.inference()?;
    /// let x = Tensor::zeros((1, 8, 6, 6), DType::F32, &Device::Cpu)?;
    /// let graph = block.graph(Signal::from(x))?;
    /// assert_eq!(graph.launches[0].operations, "conv2d + batch_norm + residual + relu");
    /// let operations: Vec<_> = graph.launches[0].nodes.iter().map(|&node| &graph.nodes[node].operation).collect();
    /// assert_eq!(operations, ["conv2d", "batch_norm", "add", "relu"]);
    /// assert_eq!(graph.not_fused().count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails, for example because the input has no numbers.
    fn graph<I>(&self, input: I) -> Result<Graph>
    where
        I: SummaryInput,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        Graph::new(self, input)
    }

    /// Returns the sizes of each signal of the output in evaluation mode, with the names of the input's sizes
    /// ([`Signal::symbolic`]).
    ///
    /// The network runs without numbers, with the numbers after the examples of the names: 2, 3 and 5 if the example
    /// is 1. It runs three times for one name and seven times for two. A size of the output is the sum of products of
    /// the names that fits all runs. Operations with a threshold beyond these numbers are not noticed.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// #[module(forward = |x| {
    ///     let (batch, length, features) = x.dims3()?;
    ///     proj(x.reshape((batch * length, features)))
    /// })]
    /// struct Tokens {
    ///     #[layer(16, 4)]
    ///     proj: Linear,
    /// }
    /// # fn main() -> Result<()> {
    /// let net = Tokens::new(&Device::Cpu)?;
    /// let sizes = net.output_sizes(Signal::symbolic(("batch", "length", 16), DType::F32))?;
    /// assert_eq!(format!("{sizes:?}"), "[[batch*length, 4]]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails in one of the runs, for example because it reads numbers, if the layers that run
    /// depend on the names, or if a size is no sum of products of names, for example because a stride divides it. The
    /// error names the layer.
    fn output_sizes<I>(&self, input: I) -> Result<Vec<Vec<SymbolicSize>>>
    where
        I: SummaryInput + Clone,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        summary::output_sizes(self, input)
    }

    /// Writes the network in evaluation mode as an ONNX model (opset 17), which runs in ONNX Runtime and other
    /// programs. Needs the feature `onnx`.
    ///
    /// The inputs are signals without numbers. Their named sizes ([`Signal::symbolic`]) are dynamic in the model, which
    /// accepts any number for them; the other sizes are fixed. The network runs as described at
    /// [`output_sizes`](Self::output_sizes). Tensors and signals with numbers among the inputs become constants of the
    /// model.
    ///
    /// The inputs of the model are named `input`, or `input_0`, `input_1` and so on if there are several, and the
    /// outputs `output` or `output_0` and so on. Parameters and buffers keep their paths; if one of them has the name
    /// of an input or output, that name ends with `_2`. The file is written atomically.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("net.onnx");
    /// let net = vec![Conv2d::config(3, 8, 3).init(&Device::Cpu)?, Conv2d::config(8, 8, 3).init(&Device::Cpu)?];
    /// net.export_onnx(&path, Signal::symbolic(("batch", 3, 32, 32), DType::F32))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails, if it contains an operation that cannot be exported, if the network runs other
    /// operations for other values of the named sizes, or if the file cannot be written. An error names the operation
    /// and the path of its layer.
    #[cfg(feature = "onnx")]
    fn export_onnx<I>(&self, path: impl AsRef<Path>, input: I) -> Result<()>
    where
        I: SummaryInput + Clone,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        self.export_onnx_with(path, input, OnnxOptions::default())
    }

    /// Writes the network as an ONNX model like [`export_onnx`](Self::export_onnx), with the settings of
    /// [`OnnxOptions`].
    ///
    /// # Errors
    /// Fails under the same conditions as [`export_onnx`](Self::export_onnx).
    #[cfg(feature = "onnx")]
    fn export_onnx_with<I>(&self, path: impl AsRef<Path>, input: I, options: OnnxOptions) -> Result<()>
    where
        I: SummaryInput + Clone,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        onnx::export(self, path.as_ref(), input, options)
    }

    /// Writes the network in evaluation mode as a StableHLO program, which JAX and other programs that use XLA run on
    /// CPUs, GPUs and TPUs. Needs the feature `stablehlo`.
    ///
    /// The inputs are signals without numbers, all of whose sizes are fixed. Tensors and signals with numbers among the
    /// inputs become constants of the program.
    ///
    /// `path` must end with `.stablehlo`. The export writes three files, each atomically:
    ///
    /// - `net.stablehlo`, the portable artifact in version 1.0.0: MLIR bytecode that programs of later versions accept
    /// - `net.mlir`, the same program as text
    /// - `net.safetensors`, the parameters and buffers that the program reads, under their paths
    ///
    /// The arguments of the program, its function `main`, are the parameters and buffers and then the inputs. The
    /// metadata of `net.safetensors` has a JSON list of the names of the parameters and buffers in this order, under
    /// the key `arguments`. The results are the outputs of the network.
    ///
    /// ```
    /// use sconce::checkpoint;
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("net.stablehlo");
    /// let net = vec![Conv2d::config(3, 8, 3).init(&Device::Cpu)?, Conv2d::config(8, 8, 3).init(&Device::Cpu)?];
    /// net.export_stablehlo(&path, Signal::meta((1, 3, 32, 32), DType::F32))?;
    /// let arguments = &checkpoint::metadata(path.with_extension("safetensors"))?["arguments"];
    /// assert_eq!(arguments, r#"["0.weight","0.bias","1.weight","1.bias"]"#);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the forward pass fails, if it contains an operation that cannot be exported, if a size of an input has
    /// a name, or if a file cannot be written. An error names the operation and the path of its layer.
    #[cfg(feature = "stablehlo")]
    fn export_stablehlo<I>(&self, path: impl AsRef<Path>, input: I) -> Result<()>
    where
        I: SummaryInput,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        self.export_stablehlo_with(path, input, StableHloOptions::default())
    }

    /// Writes the network as a StableHLO program like [`export_stablehlo`](Self::export_stablehlo), with the settings
    /// of [`StableHloOptions`].
    ///
    /// # Errors
    /// Fails under the same conditions as [`export_stablehlo`](Self::export_stablehlo).
    #[cfg(feature = "stablehlo")]
    fn export_stablehlo_with<I>(
        &self,
        path: impl AsRef<Path>,
        input: I,
        options: StableHloOptions,
    ) -> Result<()>
    where
        I: SummaryInput,
        Self: Forward<I, Output: IntoTensors> + Sized,
    {
        stablehlo::export(self, path.as_ref(), input, options)
    }

    /// Records the forward pass in evaluation mode as a CUDA graph, for inputs with the shape and dtype of `x`. The
    /// graph can be replayed with new inputs. A replay launches the whole network at once, which saves time if a
    /// network has many small launches. See [`Captured`].
    ///
    /// # Errors
    /// Fails if `x` is not on a CUDA device, if the device uses the legacy default stream, or if the forward pass
    /// fails. The forward pass also fails if it reads a value back from the device or copies more than a few values
    /// from the host.
    fn capture(&self, x: &Tensor) -> Result<Captured<Self>>
    where
        Self: Forward<Signal, Output = Signal> + Sized,
    {
        Captured::new(self.detached(), x)
    }
}

impl<M: Module + ?Sized> Network for M {}
