// How loud a recording is over its time, to be drawn. Decoded by the browser at a low rate, which keeps memory small.

const RATE = 8000;
const LARGEST_BYTES = 150e6; // larger ones are played without a waveform

/** { seconds, peaks: Float32Array of 0..1 }; null where the browser cannot decode it. */
export async function peaksOf(file, count = 2000) {
  if (file.size > LARGEST_BYTES) return null;
  try {
    const context = new OfflineAudioContext(1, RATE, RATE);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    return { seconds: audio.duration, peaks: loudest(audio.getChannelData(0), count) };
  } catch {
    return null;
  }
}

function loudest(samples, count) {
  const peaks = new Float32Array(count);
  const step = samples.length / count;
  let most = 1e-6;
  for (let number = 0; number < count; number++) {
    const end = Math.min(samples.length, Math.ceil((number + 1) * step));
    for (let at = Math.floor(number * step); at < end; at++) {
      peaks[number] = Math.max(peaks[number], Math.abs(samples[at]));
    }
    most = Math.max(most, peaks[number]);
  }
  return peaks.map((peak) => peak / most);
}
