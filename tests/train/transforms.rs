//! Transforms agree with torchvision's recorded outputs, stay within the image, and reject invalid sizes and settings.

use std::path::Path;

use proptest::prelude::*;
use sconce::checkpoint;
use sconce::prelude::*;
use sconce::train::data::Generator;
use sconce::train::data::transforms::*;

use crate::common::message;

const CPU: Device = Device::Cpu;

fn rng() -> Generator {
    Generator::from_seed(0)
}

/// Returns the image whose pixels are 1, 2, 3, ….
fn numbered(dims: [usize; 3]) -> Image {
    Image::new((1..=dims.iter().product()).map(|i| i as f32).collect(), dims).unwrap()
}

/// Applies the transform of a recorded case. The name of the case consists of the function and its arguments, as in
/// `resize_4_5`.
fn apply(function: &str, arguments: &[f64], mut image: Image) -> Result<Image> {
    let size = |index: usize| arguments[index] as usize;
    match function {
        "resize" => image.resize(size(0), size(1)),
        "shorter" => Resize::shorter(size(0)).apply(image, &mut rng()),
        "center" => CenterCrop::new(size(0), size(1)).apply(image, &mut rng()),
        "rotate" => image.rotate(arguments[0], 0.),
        "normalize" => {
            let [mean, std] = [0, 1].map(|index| vec![arguments[index] as f32; image.dims()[0]]);
            Normalize::new(mean, std).apply(image, &mut rng())
        }
        _ => {
            match function {
                "brightness" => image.adjust_brightness(arguments[0] as f32),
                "contrast" => image.adjust_contrast(arguments[0] as f32)?,
                "saturation" => image.adjust_saturation(arguments[0] as f32)?,
                "hue" => image.adjust_hue(arguments[0] as f32)?,
                "horizontal" => image.flip_horizontal(),
                "vertical" => image.flip_vertical(),
                other => panic!("unexpected function {other}"),
            }
            Ok(image)
        }
    }
}

#[test]
fn transforms_agree_with_torchvision() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/transforms/cases.npz");
    let cases = checkpoint::read(path, &CPU)?;
    let mut compared = 0;
    for (name, expected) in &cases {
        if matches!(name, "color" | "gray") {
            continue;
        }
        // A name such as `gray.resize_4_5` stands for a transform of the gray image, and other names for transforms of
        // the color image.
        let (source, case) =
            name.split_once('.').filter(|(prefix, _)| *prefix == "gray").unwrap_or(("color", name));
        let (function, arguments) = case.split_once('_').unwrap_or((case, ""));
        let arguments: Vec<f64> =
            arguments.split('_').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect();
        let image = Image::from_tensor(cases.get(source).unwrap())?;
        let found = apply(function, &arguments, image)?.into_tensor()?;
        crate::common::check_close(name, &found, expected, 2e-6)?;
        compared += 1;
    }
    assert_eq!(compared, 74);
    Ok(())
}

#[test]
fn random_transforms_cover_their_range() -> Result<()> {
    let mut rng = rng();
    let image = numbered([1, 6, 7]);
    let mut crops = std::collections::HashSet::new();
    let crop = RandomCrop::new(4, 4).padding(1).fill(-1.);
    for _ in 0..500 {
        let crop = crop.apply(image.clone(), &mut rng)?;
        assert_eq!(crop.dims(), [1, 4, 4]);
        crops.insert(crop.pixels().iter().map(|pixel| *pixel as i32).collect::<Vec<_>>());
    }
    // A crop of 4×4 has 5 · 6 positions in the padded image of 8×9.
    assert_eq!(crops.len(), 30);
    assert!(crops.contains(&vec![-1, -1, -1, -1, -1, 1, 2, 3, -1, 8, 9, 10, -1, 15, 16, 17]));

    let flips = (0..1000)
        .filter(|_| RandomHorizontalFlip::new(0.3).apply(image.clone(), &mut rng).unwrap() != image)
        .count();
    assert!((230..370).contains(&flips), "{flips}");
    let flips =
        (0..1000).filter(|_| RandomVerticalFlip::new(0.7).apply(image.clone(), &mut rng).unwrap() != image);
    assert!((630..770).contains(&flips.count()));
    let rotated = RandomRotation::new(0.).apply(image.clone(), &mut rng)?;
    assert_eq!(rotated, image);
    let filled = RandomRotation::new(90.).fill(9.).apply(Image::new(vec![9.; 36], [1, 6, 6])?, &mut rng)?;
    assert!(filled.pixels().iter().all(|pixel| (pixel - 9.).abs() < 1e-5));
    Ok(())
}

#[test]
fn erased_rectangles_have_the_requested_size() -> Result<()> {
    let mut rng = rng();
    let image = Image::new(vec![1.; 3 * 20 * 30], [3, 20, 30])?;
    for _ in 0..200 {
        let erased =
            RandomErasing::new(1.).scale(0.1, 0.2).ratio(0.5, 2.).value(7.).apply(image.clone(), &mut rng)?;
        let share = erased.pixels().iter().filter(|pixel| **pixel == 7.).count() as f64 / 1800.;
        // The share may lie slightly outside of 0.1 to 0.2, because the sides are rounded to whole pixels.
        assert!((0.08..0.23).contains(&share), "{share}");
        let planes: Vec<&[f32]> = erased.pixels().chunks(600).collect();
        assert!(planes[0] == planes[1] && planes[1] == planes[2]);

        let cut = Cutout::new(6).value(5.).apply(image.clone(), &mut rng)?;
        // At a corner of the image, at least 3×3 of the 6×6 pixels lie inside.
        let count = cut.pixels().iter().filter(|pixel| **pixel == 5.).count();
        assert!((3 * 9..=3 * 36).contains(&count), "{count}");
    }
    assert_eq!(RandomErasing::new(0.).apply(image.clone(), &mut rng)?, image);
    // No rectangle fits into one pixel.
    let pixel = numbered([1, 1, 1]);
    assert_eq!(RandomErasing::new(1.).scale(1., 1.).apply(pixel.clone(), &mut rng)?, pixel);
    Ok(())
}

#[test]
fn color_jitter_stays_within_its_ranges() -> Result<()> {
    let mut rng = rng();
    let image = Image::new(vec![0.2, 0.4, 0.6], [3, 1, 1])?;
    let mut factors = Vec::new();
    for _ in 0..300 {
        let brighter = ColorJitter::new().brightness(0.5).apply(image.clone(), &mut rng)?;
        factors.push(brighter.pixels()[0] / 0.2);
        let shifted = ColorJitter::new().hue(0.5).apply(image.clone(), &mut rng)?;
        let max = shifted.pixels().iter().copied().fold(0., f32::max);
        assert!((max - 0.6).abs() < 1e-6, "the hue should not change the largest channel");
    }
    factors.sort_by(f32::total_cmp);
    assert!(factors[0] >= 0.4999 && factors[0] < 0.52 && factors[299] <= 1.5001 && factors[299] > 1.48);
    assert_eq!(ColorJitter::new().apply(image.clone(), &mut rng)?, image);
    Ok(())
}

#[test]
fn mixup_mixes_inputs_and_targets_with_one_weight() -> Result<()> {
    let mut rng = rng();
    let x = Tensor::arange(0f32, 4., &CPU)?.reshape((4, 1))?;
    let y = Tensor::arange(0u32, 4, &CPU)?;
    let mut weights = Vec::new();
    for _ in 0..400 {
        let (mixed, probabilities) = Mixup::new(0.4, 5).apply((x.clone(), y.clone()), &mut rng)?;
        assert_eq!((mixed.dims(), probabilities.dims()), ([4, 1].as_slice(), [4, 5].as_slice()));
        let rows = probabilities.to_vec2::<f32>()?;
        for (row, mixed) in rows.iter().zip(mixed.flatten_all()?.to_vec1::<f32>()?) {
            assert!((row.iter().sum::<f32>() - 1.).abs() < 1e-5);
            // Input i is the number i, so the mixed input is the mean of the classes.
            let mean: f32 = row.iter().enumerate().map(|(class, p)| class as f32 * p).sum();
            assert!((mean - mixed).abs() < 1e-5);
        }
        weights.push(f64::from(rows[0][0]));
        // Soft targets can be mixed again.
        assert!(Mixup::new(0.4, 5).apply((mixed, probabilities), &mut rng).is_ok());
    }
    // A quarter of the examples are their own partners and have the weight 1. The other weights w have the mean 1/2,
    // and E[w²] = (α + 1) / (4α + 2).
    let mixed: Vec<f64> = weights.into_iter().filter(|weight| *weight < 1.).collect();
    let mean = mixed.iter().sum::<f64>() / mixed.len() as f64;
    let mean_square = mixed.iter().map(|weight| weight * weight).sum::<f64>() / mixed.len() as f64;
    assert!((mean - 0.5).abs() < 0.06, "{mean}");
    assert!((mean_square - 1.4 / 3.6).abs() < 0.06, "{mean_square}");

    let (labels, float) = (y.clone(), x.clone());
    let mut fails = |mixup: Mixup, batch| message(mixup.apply(batch, &mut rng));
    assert_eq!(fails(Mixup::new(0., 5), (x.clone(), y.clone())), "Mixup: expected an alpha above 0, found 0");
    assert_eq!(fails(Mixup::new(1., 3), (x.clone(), y.clone())), "Mixup: expected a class below 3, found 3");
    assert_eq!(
        fails(Mixup::new(1., 5), (labels, y.clone())),
        "Mixup: expected floating-point inputs, found U32"
    );
    assert_eq!(
        fails(Mixup::new(1., 5), (x.clone(), float)),
        "Mixup: expected classes [batch] or probabilities [batch, 5], found [4, 1] of dtype F32"
    );
    assert_eq!(
        fails(Mixup::new(1., 5), (x.narrow(0, 0, 2)?, y)),
        "Mixup: expected inputs and targets with equal first dimensions, found [2, 1] and [4, 5]"
    );
    Ok(())
}

#[test]
fn lists_and_tuples_apply_their_elements_in_order() -> Result<()> {
    let image = numbered([1, 4, 4]);
    let list: Vec<Box<dyn Transform>> =
        vec![Box::new(CenterCrop::new(2, 2)), Box::new(RandomHorizontalFlip::new(1.))];
    assert_eq!(list.apply(image.clone(), &mut rng())?.pixels(), [7., 6., 11., 10.]);
    let nested = ((CenterCrop::new(2, 2), RandomVerticalFlip::new(1.)), Normalize::new([10.], [2.]));
    assert_eq!(nested.apply(image, &mut rng())?.pixels(), [0., 0.5, -2., -1.5]);
    Ok(())
}

#[test]
fn invalid_images_and_settings_are_errors() -> Result<()> {
    let image = numbered([2, 3, 3]);
    let fails = |transform: &dyn Transform| message(transform.apply(image.clone(), &mut rng()));
    assert_eq!(
        fails(&Normalize::new([0.], [1.])),
        "Normalize: expected a mean and a standard deviation for each channel of the image (2), found 1 and 1"
    );
    assert_eq!(
        fails(&Normalize::new([0., 0.], [1., 0.])),
        "Normalize: expected standard deviations other than 0"
    );
    assert_eq!(
        fails(&RandomCrop::new(6, 2).padding(1)),
        "RandomCrop of 6×2: the crop does not fit in the image of 3×3 with a padding of 1 on each side"
    );
    assert!(fails(&RandomCrop::new(3, 3).padding(usize::MAX)).contains("RandomCrop"));
    assert_eq!(fails(&Resize::new(0, 4)), "cannot resize an image [2, 3, 3] to 0×4: expected sizes above 0");
    assert_eq!(
        fails(&Resize::shorter(1 << 20)),
        "expected an image of at most 1073741824 bytes, found f32 pixels of shape [2, 1048576, 1048576]"
    );
    // If the result would be too large, the interpolation weights of its columns must not be allocated either.
    let wide = Image::new(vec![0.; 1 << 20], [1, 1, 1 << 20])?;
    assert!(
        message(Resize::shorter(1 << 30).apply(wide, &mut Generator::from_seed(0)))
            .contains("at most 1073741824")
    );
    assert_eq!(
        fails(&CenterCrop::new(usize::MAX, usize::MAX)),
        format!(
            "expected an image of at most 1073741824 bytes, found f32 pixels of shape [2, {0}, {0}]",
            usize::MAX
        )
    );
    assert_eq!(fails(&ColorJitter::new().hue(0.1)), "expected an image with 1 or 3 channels, found 2");
    assert_eq!(
        fails(&ColorJitter::new().hue(0.6)),
        "ColorJitter: expected a hue range that is between 0 and 0.5, found 0.6"
    );
    assert_eq!(
        fails(&ColorJitter::new().contrast(-1.)),
        "ColorJitter: expected a contrast range that is finite and at least 0, found -1"
    );
    assert_eq!(fails(&RandomRotation::new(f64::NAN)), "RandomRotation: expected a finite angle, found NaN");
    assert!(fails(&RandomErasing::new(1.).scale(0.5, 0.1)).contains("the scale 0.5 to 0.1"));
    assert_eq!(
        message(image.crop(2, 0, 2, 1)),
        "a crop of 2×1 at row 2 and column 0 exceeds the image of 3×3"
    );
    assert_eq!(
        message(Image::new(vec![0.; 5], [1, 2, 3])),
        "expected the pixels of an image [1, 2, 3], found 5 pixels"
    );
    assert!(Image::new(vec![], [usize::MAX, 2, 3]).is_err());
    let flat = Tensor::zeros((28, 28), DType::F32, &CPU)?;
    assert_eq!(
        message(Image::from_tensor(&flat)),
        "expected an image [channels, height, width], found [28, 28]"
    );
    let wide = Tensor::zeros((1, 2, 2), DType::I64, &CPU)?;
    assert_eq!(message(Image::from_tensor(&wide)), "expected an image of dtype F32 or U8, found I64");
    Ok(())
}

proptest! {
    #![proptest_config(crate::common::config(48))]

    #[test]
    fn transforms_of_any_size_return_an_image_or_an_error(
        channels in 0usize..4, height in 0usize..6, width in 0usize..6, target in 0usize..9, seed: u64,
    ) {
        let image = numbered([channels, height, width]);
        let transforms: [Box<dyn Transform>; 10] = [
            Box::new(Resize::new(target, 3)),
            Box::new(Resize::shorter(target)),
            Box::new(CenterCrop::new(target, 2)),
            Box::new(RandomCrop::new(target, target).padding(1)),
            Box::new(RandomRotation::new(180.)),
            Box::new(RandomErasing::new(1.)),
            Box::new(Cutout::new(target)),
            Box::new(RandomHorizontalFlip::new(1.)),
            Box::new(RandomVerticalFlip::new(1.)),
            Box::new(ColorJitter::new().brightness(1.).contrast(1.).saturation(1.).hue(0.5)),
        ];
        for transform in transforms {
            if let Ok(image) = transform.apply(image.clone(), &mut Generator::from_seed(seed)) {
                prop_assert_eq!(image.pixels().len(), image.dims().iter().product::<usize>());
            }
        }
    }
}
