"""A rig for power losses: records what a real run does to its files, and replays the disks a power loss could leave.

Record. `record_sessions` runs the job under strace, in a driver (`driver.py`) that calls the same function as
`batchgen run`. Every write, truncation, sync, creation, rename and removal below the output folder is taken from
the trace, in order; a call that could change a file and is not modelled is an error, and so is a model that does not
end with the very bytes that lie on the disk. The driver adds what strace cannot see: when answers were acknowledged
(`Checkpoint.add` returned, so the COMMIT had), when results were (`commands.run` returned), and the marks of what is
in flight, which are written through a mapped file.

The crash model. The power may fail between any two operations. Then
  1. What a sync that has returned covers is there: of a file, its bytes and its size; of a folder, its entries.
     A file's sync does not cover its folder's entry.
  2. A disk writes sectors of 512 bytes, each whole or not at all. Each sector of a file is, independently of all
     others, in any of the versions it has had since the file's last sync: lost, kept, torn and reordered writes are
     all of them cases of this. So is the file's size. A sector that came to be inside the file but was never written
     holds zeros, or junk.
  3. Of a folder's unsynced operations any subset may have happened, each of them wholly.
  4. Files are independent of each other, and so are folders.

This is stricter than ext4, which keeps the order of a folder's operations and shows no junk. It does not model
bytes that rot after they were synced, and disks that lie about a sync. SQLite's `-shm` file is left out: whoever
opens the database first makes it anew.

Replay. Each sampled disk is laid out in memory and goes through the project's own recovery. Every answer that was
acknowledged before the crash must be there, byte for byte, and its row must not be sent again; the results must be
the file last acknowledged or a later one, whole.
"""
