//! The feature `image`: folders of images, decoded in the workers of a loader.

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use sconce::prelude::*;
use sconce::train::data::transforms::{Image, RandomCrop, Resize};
use sconce::train::data::{Generator, ImageFolder};

use crate::common::message;

/// Returns an image whose pixels depend on `seed`.
fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x * 9 + seed, y * 11, 255 - x * y].map(|value| value as u8)))
}

/// Writes two classes with images of every format, and files that are not images.
fn write_images(root: &Path) {
    for folder in ["dog", "cat/more"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    picture(8, 6, 1).save(root.join("dog/b.png")).unwrap();
    picture(8, 6, 2).save(root.join("dog/a.BMP")).unwrap();
    picture(8, 6, 3).save_with_format(root.join("cat/z.ppm"), ImageFormat::Pnm).unwrap();
    picture(8, 6, 4).save(root.join("cat/more/a.jpg")).unwrap();
    fs::write(root.join("cat/notes.txt"), "not an image").unwrap();
    fs::write(root.join("README.md"), "not a class").unwrap();
}

fn rng() -> Generator {
    Generator::from_seed(0)
}

#[test]
fn classes_and_files_are_ordered_by_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_images(directory.path());
    let images = ImageFolder::new(directory.path())?;
    assert_eq!(images.classes(), ["cat", "dog"]);
    let files: Vec<(String, u32)> = images
        .files()
        .iter()
        .map(|(path, class)| {
            let path = path.strip_prefix(directory.path()).unwrap();
            (path.to_str().unwrap().replace('\\', "/"), *class)
        })
        .collect();
    // The files of a folder come before those of its subfolders.
    let expected = [("cat/z.ppm", 0), ("cat/more/a.jpg", 0), ("dog/a.BMP", 1), ("dog/b.png", 1)];
    assert_eq!(files, expected.map(|(path, class)| (path.to_string(), class)));

    // Lossless formats keep every pixel.
    for (index, seed) in [(0, 3), (2, 2), (3, 1)] {
        let (pixels, class) = images.get(index, &mut rng())?;
        assert_eq!((pixels.dims(), class), ([3, 6, 8].as_slice(), files[index].1));
        let pixels = pixels.to_vec3::<f32>()?;
        for (x, y, color) in picture(8, 6, seed).enumerate_pixels() {
            for (channel, value) in color.0.into_iter().enumerate() {
                assert_eq!(pixels[channel][y as usize][x as usize], f32::from(value) / 255.);
            }
        }
    }
    assert_eq!(message(images.get(4, &mut rng())), "index 4 is out of range for 4 examples");
    Ok(())
}

#[test]
fn gray_and_transparent_images_have_three_channels() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("image.png");
    image::GrayImage::from_pixel(2, 1, image::Luma([51])).save(&path).unwrap();
    assert_eq!(Image::open(&path)?.pixels(), [0.2; 6]);
    image::RgbaImage::from_pixel(1, 1, image::Rgba([51, 102, 255, 0])).save(&path).unwrap();
    assert_eq!(Image::open(&path)?.pixels(), [0.2, 0.4, 1.]);
    Ok(())
}

#[test]
fn a_corrupt_file_is_an_error_with_its_path_or_is_skipped() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path();
    write_images(root);
    let corrupt = root.join("dog/a.BMP");
    fs::write(&corrupt, "not an image")?;
    let loader = |workers| {
        let images = ImageFolder::new(root).unwrap().transform((Resize::new(12, 12), RandomCrop::new(8, 8)));
        DataLoader::new(images).batch_size(2).workers(workers).seed(0)
    };
    let mut expected = None;
    for workers in [0, 1, 3] {
        let results: Vec<_> = loader(workers).iter()?.collect();
        let found = message(results[1].as_ref());
        assert!(found.starts_with(&format!("example 2: {}: ", corrupt.display())), "{found}");

        let skipping = loader(workers).skip_corrupt(true);
        let batches: Vec<(Tensor, Tensor)> = skipping.iter()?.collect::<Result<_>>()?;
        let shapes: Vec<&[usize]> = batches.iter().map(|(x, _)| x.dims()).collect();
        assert_eq!(shapes, [[2, 3, 8, 8], [1, 3, 8, 8]]);
        assert_eq!(skipping.skipped(), 1);
        let pixels = batches[0].0.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(*expected.get_or_insert(pixels.clone()), pixels);
    }
    Ok(())
}

#[test]
fn truncated_images_are_errors() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_images(directory.path());
    let truncated = directory.path().join("truncated");
    // A PNG image is complete without the last 16 bytes of its file: the checksum of the data (4 bytes) and the end
    // chunk (12 bytes).
    for (file, unneeded) in [("dog/b.png", 16), ("dog/a.BMP", 0), ("cat/z.ppm", 0), ("cat/more/a.jpg", 0)] {
        let content = fs::read(directory.path().join(file))?;
        for length in 0..content.len() - unneeded {
            fs::write(&truncated, &content[..length])?;
            let found = message(Image::open(&truncated));
            assert!(found.starts_with(&format!("{}: ", truncated.display())), "{file}: {found}");
        }
    }
    Ok(())
}

#[test]
fn other_data_may_follow_a_jpeg_image() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_images(directory.path());
    let path = directory.path().join("cat/more/a.jpg");
    let mut content = fs::read(&path)?;
    let expected = Image::open(&path)?;
    // In a motion photo, a video follows the image. The data of the video may look like the start of a JPEG scan.
    content.extend([0xff, 0xda, 0, 0, 0xff, 0xd8]);
    fs::write(&path, &content)?;
    assert_eq!(Image::open(&path)?.pixels(), expected.pixels());
    Ok(())
}

#[test]
fn a_file_with_huge_dimensions_is_an_error() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("huge.ppm");
    for (header, expected) in [
        ("P6 60000 60000 255\n", "expected at most 67108864 pixels, found 60000×60000"),
        ("P6 70000000 1 255\n", "expected at most 67108864 pixels, found 70000000×1"),
    ] {
        fs::write(&path, header)?;
        let found = message(Image::open(&path));
        assert!(found.contains(expected), "{found}");
    }
    Ok(())
}

#[test]
fn folders_without_images_are_errors() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path();
    let found = message(ImageFolder::new(root));
    assert_eq!(found, format!("{}: expected one folder for each class, found none", root.display()));
    fs::create_dir(root.join("empty"))?;
    let found = message(ImageFolder::new(root));
    assert!(found.contains("empty: expected images with the extensions [\"bmp\", "), "{found}");
    let found = message(ImageFolder::new(root.join("missing")));
    assert!(found.starts_with(&format!("{}: ", root.join("missing").display())), "{found}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn cyclic_links_are_not_followed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_images(directory.path());
    std::os::unix::fs::symlink(directory.path(), directory.path().join("cat/loop"))?;
    assert_eq!(ImageFolder::new(directory.path())?.len(), 4);
    Ok(())
}
