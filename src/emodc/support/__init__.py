"""What any project needs: files, tensors, results, processes, devices; no faces, no diffusion."""
