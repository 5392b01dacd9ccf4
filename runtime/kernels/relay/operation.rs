//! A candle operation together with its operands, however many there are.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Result, Shape, Storage, Tensor, bail};

/// A candle operation with its operands.
pub(super) trait Operation: Send + Sync {
    fn name(&self) -> &'static str;
    fn operands(&self) -> &[Tensor];
    fn forward(&self) -> Result<(CpuStorage, Shape)>;
    /// The gradients of the operands.
    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

pub(super) struct One<C> {
    pub op: C,
    pub operands: [Tensor; 1],
}

impl<C: CustomOp1 + Send + Sync> Operation for One<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = &self.operands;
        Ok(vec![self.op.bwd(x, output, gradient)?])
    }
}

pub(super) struct Two<C> {
    pub op: C,
    pub operands: [Tensor; 2],
}

impl<C: CustomOp2 + Send + Sync> Operation for Two<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x, second] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1, on_cpu(&second.0)?, second.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, second] = &self.operands;
        let (x, second) = self.op.bwd(x, second, output, gradient)?;
        Ok(vec![x, second])
    }
}

pub(super) struct Three<C> {
    pub op: C,
    pub operands: [Tensor; 3],
}

impl<C: CustomOp3 + Send + Sync> Operation for Three<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x, second, third] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1, on_cpu(&second.0)?, second.1, on_cpu(&third.0)?, third.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, second, third] = &self.operands;
        let (x, second, third) = self.op.bwd(x, second, third, output, gradient)?;
        Ok(vec![x, second, third])
    }
}

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("expected a tensor on the CPU"),
    }
}
