"""How much of a download is in its file, where the records know nothing of it.

Ollama writes down how far a part is when the part ends, or is broken off in peace. Of what was
under way when it was killed the record says nothing, and the next pull would fetch all that anew:
up to sixteen parts at once, the whole of most models. But the file is a sparse one of the blob's
size, and a part is written from its beginning on: it is there up to the first hole. Whether the
bytes are the right ones Ollama finds out itself, for it hashes what it has downloaded.
"""

import os


def written_end(file: int, begin: int, end: int) -> int:
    """Up to where the bytes from `begin` on, `end` at most, are in the open file. Raises OSError.

    Of the last block before a hole nobody knows how much was written, and the one at a part's end
    may be there for the sake of the next part's first bytes: these two do not count.
    """
    if begin >= min(end, os.fstat(file).st_size):
        return begin
    block_bytes = os.fstat(file).st_blksize
    data_end = min(os.lseek(file, begin, os.SEEK_HOLE), end)
    sure_end = (data_end // block_bytes - 1) * block_bytes
    if sure_end <= begin or not any(os.pread(file, block_bytes, sure_end - block_bytes)):
        return begin  # zeros: of a file system that knows no holes, and takes all for data
    return sure_end
