//! `manual_seed` determines all random numbers.

use sconce::prelude::*;
use sconce::random;

use crate::passed_in_own_process;

#[test]
fn a_seed_determines_all_random_numbers() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let cpu = &Device::Cpu;
    let numbers = Tensor::arange(0u32, 50, cpu)?;
    let data = TensorDataset::new(numbers.clone(), numbers)?.shuffle(true);
    let order = || -> Result<Vec<Vec<u32>>> { data.epoch()?.map(|batch| Ok(batch?.1.to_vec1()?)).collect() };
    let draw = |seed| -> Result<_> {
        sconce::manual_seed(seed);
        let uniform = random::uniform((3, 5), -1., 1., DType::F64, cpu)?.flatten_all()?.to_vec1::<f64>()?;
        let normal = random::normal(7, 0., 1., DType::F64, cpu)?.to_vec1::<f64>()?;
        let mask = random::bernoulli(40, 0.5, DType::U8, cpu)?.to_vec1::<u8>()?;
        Ok((uniform, normal, mask, order()?))
    };
    assert_eq!(draw(1)?, draw(1)?);
    assert_ne!(draw(1)?, draw(2)?);
    // A signal without numbers draws none.
    let before = random::state();
    for shape in [vec![2, 3], vec![]] {
        let y = rrelu(Signal::meta(shape.clone(), DType::F32), 0.1, 0.3, Mode::Train);
        assert_eq!(y.dims()?, shape);
    }
    let drawn = || random::normal(7, 0., 1., DType::F64, cpu)?.to_vec1::<f64>();
    let after = drawn()?;
    random::set_state(&before);
    assert_eq!(after, drawn()?);
    assert_ne!(order()?, order()?, "each epoch has its own order");
    Ok(())
}
