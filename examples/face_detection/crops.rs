//! Crops of a photograph for R-Net, labeled by their overlap with the detected face.

use sconce::prelude::*;

use super::PNet;

/// Left, top, right and bottom of a box, in pixels.
pub type BoundingBox = [f64; 4];

/// Crops of a photograph with their labels.
#[derive(Batch, Clone)]
pub struct Crops {
    /// `[crops, 3, 24, 24]`
    #[batch(input)]
    pub images: Tensor,
    /// `[crops]`: 1 if the crop shows the face, 0 otherwise.
    pub is_face: Tensor,
    /// `[crops, 4]`: the differences between the face's box and the crop's, divided by the side of the crop.
    pub offsets: Tensor,
    /// `[crops, 1]`: `is_face` as f32. The loss multiplies the errors of the offsets by this mask, because only crops
    /// with the face have a box to predict.
    pub face_mask: Tensor,
}

/// Returns the intersection over union of two boxes.
fn iou(a: &BoundingBox, b: &BoundingBox) -> f64 {
    let area = |r: &BoundingBox| (r[2] - r[0]).max(0.) * (r[3] - r[1]).max(0.);
    let common = area(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common)
}

/// Returns the box of P-Net's most probable window, corrected by P-Net's offsets. Windows are 12 pixels wide, and a
/// window starts every 2 pixels.
pub fn face(pnet: &PNet, photograph: &Tensor) -> Result<BoundingBox> {
    let (probability, offsets) = pnet.forward(photograph)?;
    let columns = probability.dim(3)?;
    let best = probability.narrow(1, 1, 1)?.flatten_all()?.argmax(0)?.to_scalar::<u32>()? as usize;
    let (top, left) = (2. * (best / columns) as f64, 2. * (best % columns) as f64);
    let offsets = offsets.flatten_from(2)?.narrow(2, best, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let window = [left, top, left + 12., top + 12.];
    Ok(std::array::from_fn(|i| window[i] + 12. * f64::from(offsets[i])))
}

/// Returns crops of square windows about as large as the face. As in the MTCNN paper, a window counts as a face if its
/// intersection over union with the face is at least 0.65, and as background if this ratio is below 0.3. Other windows
/// are dropped.
pub fn crops(photograph: &Tensor, face: &BoundingBox) -> Result<Crops> {
    let (_, _, rows, columns) = photograph.dims4()?;
    let side = ((face[2] - face[0]) * (face[3] - face[1])).sqrt();
    let (mut images, mut is_face, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for size in [0.85, 1., 1.2].map(|scale| (scale * side).round() as usize) {
        for top in 0..(rows + 1).saturating_sub(size) {
            for left in 0..(columns + 1).saturating_sub(size) {
                let [l, t, s] = [left, top, size].map(|n| n as f64);
                let window = [l, t, l + s, t + s];
                let overlap = iou(&window, face);
                // Keep every window with the face, and a window without the face only in every sixth row and column.
                if overlap < 0.65 && !(overlap < 0.3 && top % 6 == 0 && left % 6 == 0) {
                    continue;
                }
                let crop = photograph.narrow(2, top, size)?.narrow(3, left, size)?;
                images.push(interpolate(crop, Upsample::config().size(24).mode("bilinear")).into_tensor()?);
                is_face.push(u32::from(overlap >= 0.65));
                offsets.extend((0..4).map(|i| ((face[i] - window[i]) / s) as f32));
            }
        }
    }
    let device = photograph.device();
    let is_face = Tensor::new(is_face, device)?;
    Ok(Crops {
        images: Tensor::cat(&images, 0)?,
        offsets: Tensor::from_vec(offsets, (images.len(), 4), device)?,
        face_mask: is_face.to_dtype(DType::F32)?.unsqueeze(1)?,
        is_face,
    })
}
