"""Any media file or bytes -> mono float32 at 16 kHz.

One decoder, PyAV (it bundles FFmpeg): two decoders disagree silently on broken headers and chained Ogg,
and only FFmpeg also reads video, m4a and webm.

reading      load_audio, stream_audio, excerpts: what the rest of the house calls
opening      a path, bytes or a pipe -> an open container that can reach nothing else
tracks       which audio track is heard
decoding     packets -> frames; damage is counted
mixing       channels -> mono, by where they stand in the room
timeline     timestamps -> silence in holes, and no drift
resampling   any rate -> 16 kHz
seeking      a stretch from the middle, where that is exact
pipes        sound on standard input while it is made: raw PCM, or a container

The rules:

- **Track.** The one that is asked for; else the one tagged with the language, else the one marked default, else the
  first; one with sound before silent ones. Where there are several a line says which is heard.
- **Channels.** Mixed by layout, with FFmpeg's weights: the centre full, front less, back and sides least, no LFE; of
  stereo that is the mean. Six and eight channels without a layout are taken for 5.1 and 7.1, which is said. Where
  channels cancel each other (opposite phase): the loudest one.
- **Values.** NaN and infinity become 0 and all is clipped to [-1, 1], as Whisper's own loader does by using int16.
- **Time.** Second 0 is where the earliest stream of the file starts, as in ffmpeg and mpv. A late start or a hole in
  the timestamps is silence, whatever its length; a clock that starts anew goes on; samples that are up to a tenth
  faster or slower than their timestamps are brought to them, and where they are so by more all the time, the rate that
  the file says is taken for a mistake.
- **Damage.** What can be decoded is kept and a warning is logged; nothing decodable is an AudioError. Holes in
  timestamps are no damage, and what the system refuses (permissions, too many open files) is a FileAccessError.
- **Safety.** FFmpeg gets one file that is already open, an allow-list of formats and no protocol at all, so a
  playlist, a concat script or a reference inside a container can open neither a file nor the network.

Shapes: C channels, N samples.
"""

from dragoman.data.audio.reading import excerpts, load_audio, stream_audio
from dragoman.data.audio.resampling import SAMPLE_RATE, Waveform

__all__ = ["SAMPLE_RATE", "Waveform", "excerpts", "load_audio", "stream_audio"]
