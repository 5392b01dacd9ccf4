//! Scenes of overlapping garments, with the class of each pixel.

use std::path::Path;

use sconce::prelude::*;
use sconce::train::data::{dataset_fn, read_idx};

/// The height and the width of a scene.
pub const SIDE: usize = 64;
/// The height and the width of a garment.
const GARMENT: usize = 28;
/// The value, from 0 to 255, of the darkest pixels that belong to a garment. Darker pixels are the black background of
/// the garment's image.
const DARKEST: u8 = 20;

/// The names and the colors of the classes of pixels.
pub const CLASSES: [(&str, [u8; 3]); 6] = [
    ("background", [40, 40, 40]),
    ("top", [230, 80, 60]),
    ("trousers", [70, 130, 230]),
    ("dress", [240, 200, 60]),
    ("shoe", [80, 190, 110]),
    ("bag", [180, 100, 210]),
];

/// For each class of Fashion-MNIST, the class of its pixels, an index of [`CLASSES`]. The classes of Fashion-MNIST are
/// T-shirt, trousers, pullover, dress, coat, sandal, shirt, sneaker, bag and ankle boot.
const CLASS_OF_PIXELS: [u8; 10] = [1, 2, 1, 3, 1, 4, 1, 4, 5, 4];

/// The pixels of an image, row by row, and its class in Fashion-MNIST.
type Garment = (Vec<u8>, u8);

/// Returns the 10,000 test images of Fashion-MNIST.
pub fn garments() -> Result<Vec<Garment>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = read_idx(directory.join("t10k-images-idx3-ubyte.gz"))?.flatten_from(1)?.to_vec2()?;
    let classes = read_idx(directory.join("t10k-labels-idx1-ubyte.gz"))?.to_vec1()?;
    Ok(images.into_iter().zip(classes).collect())
}

/// Returns a data set of random scenes: pixels `[1, SIDE, SIDE]` from 0 to 1, and their classes `[SIDE, SIDE]`. The
/// background is gray and noisy. Each garment hides parts of those before it.
pub fn scenes(garments: Vec<Garment>, count: usize) -> impl Dataset<Example = (Tensor, Tensor)> {
    dataset_fn(count, move |_, rng| {
        let gray = rng.uniform(0., 0.5);
        let mut pixels: Vec<f32> = (0..SIDE * SIDE).map(|_| rng.normal(gray, 0.05) as f32).collect();
        let mut classes = vec![0; SIDE * SIDE];
        for _ in 0..2 + rng.below(4) {
            let (image, class) = &garments[rng.below(garments.len())];
            let (top, left) = (rng.below(SIDE - GARMENT + 1), rng.below(SIDE - GARMENT + 1));
            for (i, pixel) in image.iter().enumerate().filter(|(_, pixel)| **pixel >= DARKEST) {
                let position = (top + i / GARMENT) * SIDE + left + i % GARMENT;
                pixels[position] = f32::from(*pixel) / 255.;
                classes[position] = CLASS_OF_PIXELS[usize::from(*class)];
            }
        }
        let pixels = Tensor::from_vec(pixels, (1, SIDE, SIDE), &Device::Cpu)?;
        Ok((pixels, Tensor::from_vec(classes, (SIDE, SIDE), &Device::Cpu)?))
    })
}
