"""From a line of a file list to a batch of uint8 clips. See `loader` for the last step, `filelist` for the first."""
