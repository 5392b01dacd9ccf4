//! A layer may have the name of a common type of plain data.

use sconce::prelude::*;

mod hardware {
    use sconce::prelude::*;

    #[derive(Module)]
    pub struct Device {
        #[layer(3, 3)]
        fc: Linear,
    }
}

#[derive(Module)]
struct Net {
    device: hardware::Device,
}

#[test]
fn a_users_layer_may_be_named_like_data() -> Result<()> {
    let x = Tensor::ones((1, 3), DType::F32, &Device::Cpu)?;
    assert_eq!(Net::new(&Device::Cpu)?.forward(&x)?.dims(), [1, 3]);
    Ok(())
}
