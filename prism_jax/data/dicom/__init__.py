"""DICOM: reading, windowing, tags, writing secondary captures."""
